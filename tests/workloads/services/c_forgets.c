/* Leak: every request gets a context of its own, and no one frees it. PORT CONTEXT_BYTES */
#include "c_serve.h"

static double size;

static void request(void) {
    filled(about(size));
}

int main(int count, char **words) {
    size = count == 3 ? atof(words[2]) : 0;
    serve(atoi(words[1]), request);
}
