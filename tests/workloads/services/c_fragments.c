/* Leak by fragmentation: some records at a time are read into the heap and shrunk to a summary where
   they are. The summaries are small and wanted; the holes between them are too small for the next
   records, which get a little longer all the time.
   PORT RECORDS_EACH RECORD_BYTES GROWTH_BYTES */
#include "c_serve.h"

enum { SUMMARY = 64, MOST = 64 };
static int records;
static double size, growth;

static void request(void) {
    static void **summaries;
    static size_t known, room;
    void *read[MOST];
    for (int i = 0; i < records; i++) read[i] = filled(SUMMARY + (size_t)size);
    if (known + records > room) summaries = realloc(summaries, (room += 4096) * sizeof *summaries);
    for (int i = 0; i < records; i++) summaries[known++] = realloc(read[i], SUMMARY);
    size += growth * 2 * rand() / RAND_MAX;
}

int main(int count, char **words) {
    if (count != 5 || atoi(words[2]) > MOST) return 2;
    records = atoi(words[2]);
    size = atof(words[3]);
    growth = atof(words[4]);
    serve(atoi(words[1]), request);
}
