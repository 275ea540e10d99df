/* Answer HTTP requests on loopback, one at a time: what the small C services have in common. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

/* Between half and one and a half times the mean, at least 1. */
static size_t about(double mean) {
    return 1 + (size_t)(mean * (0.5 + (double)rand() / RAND_MAX));
}

static void *filled(size_t size) {
    void *block = malloc(size);
    if (block == NULL) exit(1);
    return memset(block, 1, size);
}

/* The requests are short: each arrives in one piece, and the next waits for the answer. */
static void serve(int port, void (*request)(void)) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 8)) {
        perror("bind");
        exit(1);
    }
    srand(getpid());
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        char head[4096];
        while (read(connection, head, sizeof head) > 0) {
            request();
            if (write(connection, answer, sizeof answer - 1) < 0) break;
        }
        close(connection);
    }
}
