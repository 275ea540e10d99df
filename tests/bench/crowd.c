// crowd N [STEP_KIB EVERY_MS MOST_KIB]: N children that rest, or grow by STEP_KIB every EVERY_MS
// up to MOST_KIB and begin anew. Prints their pids on one line. They end with this process; told by
// SIGTERM, it waits until they are gone.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 1 << 15 };
static pid_t children[MOST];

static void live(long step, long every_ms, long most) {
    if (step == 0) {
        for (;;) pause();
    }
    char *memory = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) _exit(1);
    for (long used = (getpid() % 8) * most / 8;; usleep(every_ms * 1000)) {
        if (used + step > most) {
            madvise(memory, most, MADV_DONTNEED);
            used = 0;
        }
        memset(memory + used, 1, step);
        used += step;
    }
}

int main(int argc, char **argv) {
    int count = argc == 2 || argc == 5 ? atoi(argv[1]) : 0;
    if (count < 1 || count > MOST) return 2;
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);  // a bench that is killed leaves nobody behind
    pid_t parent = getpid();
    for (int i = 0; i < count; i++) {
        pid_t pid = fork();
        if (pid < 0) {
            perror("fork");
            return 1;
        }
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (getppid() != parent) _exit(0);
            close(STDOUT_FILENO);
            if (argc == 5) live(atol(argv[2]) << 10, atol(argv[3]), atol(argv[4]) << 10);
            live(0, 0, 0);
        }
        children[i] = pid;
        printf("%d ", pid);
        fflush(stdout);  // or the next child would have it in its buffer, too
    }
    printf("\n");
    fflush(stdout);
    int came;
    sigwait(&term, &came);
    for (int i = 0; i < count; i++) kill(children[i], SIGKILL);
    while (wait(NULL) > 0) continue;
}
