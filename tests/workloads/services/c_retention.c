/* A peak that the allocator keeps: small blocks are taken, all but the last are freed, and the heap
   stays as large as it was, because its end is in use. No leak. PORT PEAK_SECONDS PEAK_BYTES */
#include "c_serve.h"

enum { BLOCK = 4000 };
static double began, peak_s, peak;

static void request(void) {
    static int done;
    if (done || seconds() - began < peak_s) {
        free(filled(about(BLOCK)));
        return;
    }
    size_t count = peak / BLOCK;
    void **blocks = filled(count * sizeof *blocks);
    for (size_t i = 0; i < count; i++) blocks[i] = filled(about(BLOCK));
    for (size_t i = 0; i + 1 < count; i++) free(blocks[i]);
    free(blocks);
    done = 1;
}

int main(int count, char **words) {
    if (count != 4) return 2;
    began = seconds();
    peak_s = atof(words[2]);
    peak = atof(words[3]);
    serve(atoi(words[1]), request);
}
