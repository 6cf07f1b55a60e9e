/* The one place where answers, reports and files are put together. */
#ifndef EDGELOOP_OUTPUT_H
#define EDGELOOP_OUTPUT_H

#include "batch.h"

enum {
    OUTPUT_LEAST = 1024 * 1024 + 64 * 1024, /* a request of the largest size fits, too */
    OUTPUT_MOST = 2 * 1024 * 1024,
    OUTPUT_ROWS = MAX_ROWS * ROW_BYTES + 256 * 1024,
    OUTPUT_WANTED = OUTPUT_ROWS < OUTPUT_LEAST ? OUTPUT_LEAST : OUTPUT_ROWS > OUTPUT_MOST ? OUTPUT_MOST : OUTPUT_ROWS,
    OUTPUT_BYTES = REPORT_BYTES + 131072 > OUTPUT_WANTED ? REPORT_BYTES + 131072 : OUTPUT_WANTED
};

extern char output[OUTPUT_BYTES];

#endif
