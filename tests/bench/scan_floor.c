// scan_floor ROUNDS [PID]... : what a scan for OOM victims costs at least. Each round lists /proc, reads
// and parses `stat` of every process and `oom_score_adj` of those that have memory, and then `status` and
// `oom_score` of the pids given. Prints the microseconds of CPU of the median round.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile long seen;

static double cpu_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static ssize_t take(const char *pid, const char *name, char *text, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t got = read(fd, text, size - 1);
    close(fd);
    if (got >= 0) text[got] = 0;
    return got;
}

// Fields after the name: parent is 2, flags 7, start 20, address space 21, resident 22.
static long stat_of(const char *pid) {
    char text[1024];
    if (take(pid, "stat", text, sizeof text) <= 0) return 0;
    char *at = strrchr(text, ')');
    if (at == NULL) return 0;
    long vsize = 0;
    at += 4;
    for (int field = 2; field <= 22; field++) {
        long value = strtol(at, &at, 10);
        if (field == 2 || field == 7 || field == 20 || field == 22) seen += value;
        if (field == 21) vsize = value;
    }
    return vsize;
}

static void status_of(const char *pid) {
    static const char *const keys[] = {"\nVmRSS:", "\nRssFile:", "\nVmPTE:", "\nVmSwap:"};
    char text[4096];
    if (take(pid, "status", text, sizeof text) <= 0) return;
    for (int key = 0; key < 4; key++) {
        char *line = strstr(text, keys[key]);
        if (line) seen += strtol(line + strlen(keys[key]), NULL, 10);
    }
    if (take(pid, "oom_score", text, sizeof text) > 0) seen += strtol(text, NULL, 10);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 0;
    if (rounds < 1) return 2;
    double *times = malloc(rounds * sizeof *times);
    for (int round = 0; round < rounds; round++) {
        double began = cpu_us();
        DIR *proc = opendir("/proc");
        if (proc == NULL) return 1;
        for (struct dirent *entry; (entry = readdir(proc));) {
            char text[32];
            if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
            if (stat_of(entry->d_name) && take(entry->d_name, "oom_score_adj", text, sizeof text) > 0)
                seen += strtol(text, NULL, 10);
        }
        closedir(proc);
        for (int i = 2; i < argc; i++) status_of(argv[i]);
        times[round] = cpu_us() - began;
    }
    qsort(times, rounds, sizeof *times, compare);
    printf("%.2f\n", times[rounds / 2]);
}
