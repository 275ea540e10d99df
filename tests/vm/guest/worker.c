/* Holds a fixed amount of memory of a given kind, and leaks more of it in small steps when told.
 *
 * worker name=N [status=FILE] [group=DIRECTORY] [adj=N] [anon=KIB] [huge=KIB] [shmem=FILE:KIB]
 *        [file=FILE:KIB] [sparse=PAGES] [kids=COUNT:KIB]
 *
 * Says "ready", then obeys lines on stdin; the end of stdin ends it:
 *   grow KIND BYTES     says "grown" after that much more
 *   leak KIND           grows until the kernel kills somebody ("killed") or refuses ("enomem")
 * KIND is anon, sparse (one page and one page table a time) or tmpfs:FILE. Each step adds to the
 * 64-bit counter in the status file, which outlives the worker.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096UL
#define STEP (16 * PAGE)
#define SPARSE_STRIDE (2UL << 20)
#define HUGE_ALIGN (2UL << 20)

static uint64_t *grown;
static uint64_t noise = 88172645463325252ULL;
static char *sparse_next, *sparse_end;

static void fail(const char *what)
{
    fprintf(stderr, "worker: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Half of every page is noise, so that zram packs it about two to one. */
static void fill(char *from, size_t bytes)
{
    for (char *page = from; page < from + bytes; page += PAGE)
        for (uint64_t *word = (uint64_t *)page; (char *)word < page + PAGE / 2; word++) {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            *word = noise;
        }
}

static char *map(size_t bytes, int fd, int flags)
{
    char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

static void hold_anon(size_t bytes)
{
    char *at = map(bytes, -1, MAP_PRIVATE | MAP_ANONYMOUS);
    if (!at)
        fail("anon");
    fill(at, bytes);
}

static void hold_huge(size_t bytes)
{
    char *at = map(bytes + HUGE_ALIGN, -1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    if (!at)
        fail("huge");
    at = (char *)(((uintptr_t)at + HUGE_ALIGN - 1) & ~(HUGE_ALIGN - 1));
    if (madvise(at, bytes, MADV_HUGEPAGE))
        fail("madvise");
    fill(at, bytes);
}

/* "FILE:KIB": a file on tmpfs is filled by the first who comes, and mapped by all. */
static void hold_mapped(char *value, int writable)
{
    char *colon = strrchr(value, ':');
    struct stat found;
    if (!colon)
        fail("FILE:KIB");
    *colon = 0;
    size_t bytes = strtoull(colon + 1, NULL, 10) << 10;
    int fd = open(value, writable ? O_RDWR | O_CREAT : O_RDONLY, 0600);
    if (fd < 0 || fstat(fd, &found))
        fail(value);
    int fresh = writable && found.st_size == 0;
    if (fresh && ftruncate(fd, (off_t)bytes))
        fail(value);
    int access = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    char *at = mmap(NULL, bytes, access, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        fail(value);
    if (fresh)
        fill(at, bytes);
    volatile char sink;
    for (size_t offset = 0; offset < bytes; offset += PAGE)
        sink = at[offset];
    (void)sink;
    close(fd);
}

static int sparse_pages(size_t pages)
{
    for (size_t page = 0; page < pages; page++) {
        if (sparse_next == sparse_end) {
            size_t bytes = 4096 * SPARSE_STRIDE;
            sparse_next = map(bytes, -1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
            if (!sparse_next)
                return -1;
            sparse_end = sparse_next + bytes;
        }
        *sparse_next = 1;
        sparse_next += SPARSE_STRIDE;
    }
    return 0;
}

static void have_kids(const char *name, char *value)
{
    char *colon = strchr(value, ':');
    if (!colon)
        fail("COUNT:KIB");
    size_t bytes = strtoull(colon + 1, NULL, 10) << 10;
    for (long kid = strtol(value, NULL, 10); kid > 0; kid--) {
        int told[2];
        char byte, title[16];
        if (pipe(told))
            fail("pipe");
        pid_t pid = fork();
        if (pid < 0)
            fail("fork");
        if (pid == 0) {
            snprintf(title, sizeof title, "%.10s-kid", name);
            prctl(PR_SET_NAME, title);
            hold_anon(bytes);
            if (write(told[1], "r", 1) != 1)
                fail("kid");
            for (;;)
                pause();
        }
        close(told[1]);
        if (read(told[0], &byte, 1) != 1)
            fail("kid");
        close(told[0]);
    }
}

static void set_adj(const char *value)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        fail("oom_score_adj");
    close(fd);
}

static void join_group(const char *directory)
{
    char path[512];
    snprintf(path, sizeof path, "%s/cgroup.procs", directory);
    int fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, "0", 1) != 1)
        fail(path);
    close(fd);
}

static void share_counter(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, PAGE))
        fail(path);
    grown = (uint64_t *)map(PAGE, fd, MAP_SHARED);
    if (!grown)
        fail(path);
    close(fd);
}

static uint64_t kernel_kills(void)
{
    static char text[32768];
    static int fd = -1;
    if (fd < 0)
        fd = open("/proc/vmstat", O_RDONLY);
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    if (length < 0)
        fail("/proc/vmstat");
    text[length] = 0;
    char *line = strstr(text, "\noom_kill ");
    return line ? strtoull(line + 10, NULL, 10) : 0;
}

static int step(const char *kind)
{
    static int file = -1;
    static char page_run[STEP];
    if (!strcmp(kind, "sparse")) {
        if (sparse_pages(STEP / PAGE / 2))
            return -1;
    } else if (!strncmp(kind, "tmpfs:", 6)) {
        if (file < 0)
            file = open(kind + 6, O_WRONLY | O_CREAT | O_APPEND, 0600);
        fill(page_run, STEP);
        if (write(file, page_run, STEP) != (ssize_t)STEP)
            return -1;
    } else {
        char *at = map(STEP, -1, MAP_PRIVATE | MAP_ANONYMOUS);
        if (!at)
            return -1;
        fill(at, STEP);
    }
    *grown += STEP;
    return 0;
}

static void obey(void)
{
    char line[512], kind[256];
    unsigned long long bytes;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "grow %255s %llu", kind, &bytes) == 2) {
            uint64_t until = *grown + bytes;
            int bad = 0;
            while (*grown < until && !(bad = step(kind)))
                ;
            puts(bad ? "enomem" : "grown");
        } else if (sscanf(line, "leak %255s", kind) == 1) {
            uint64_t before = kernel_kills();
            int bad = 0;
            while (kernel_kills() == before && !(bad = step(kind)))
                ;
            puts(bad ? "enomem" : "killed");
        }
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    static uint64_t own_counter;
    const char *name = "worker";
    grown = &own_counter;
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) {
            fprintf(stderr, "worker: %s: want KEY=VALUE\n", argv[i]);
            return 2;
        }
        *value++ = 0;
        if (!strcmp(argv[i], "name"))
            prctl(PR_SET_NAME, name = value);
        else if (!strcmp(argv[i], "group"))
            join_group(value);
        else if (!strcmp(argv[i], "status"))
            share_counter(value);
        else if (!strcmp(argv[i], "adj"))
            set_adj(value);
        else if (!strcmp(argv[i], "anon"))
            hold_anon(strtoull(value, NULL, 10) << 10);
        else if (!strcmp(argv[i], "huge")) {
            prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
            hold_huge(strtoull(value, NULL, 10) << 10);
        } else if (!strcmp(argv[i], "shmem"))
            hold_mapped(value, 1);
        else if (!strcmp(argv[i], "file"))
            hold_mapped(value, 0);
        else if (!strcmp(argv[i], "sparse")) {
            if (sparse_pages(strtoull(value, NULL, 10)))
                fail("sparse");
        } else if (!strcmp(argv[i], "kids"))
            have_kids(name, value);
        else {
            fprintf(stderr, "worker: unknown key %s\n", argv[i]);
            return 2;
        }
    }
    puts("ready");
    fflush(stdout);
    obey();
    return 0;
}
