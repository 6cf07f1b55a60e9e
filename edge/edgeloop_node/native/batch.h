/* The rows of one request on their way through the model: values in, the model's outputs out, then the counts. */
#ifndef EDGELOOP_BATCH_H
#define EDGELOOP_BATCH_H

#include "document.h"

enum {
    MAX_ROWS = 1000,
    MOST_NUMBERS = 262144, /* of one request and of each type: a fixed bound on the memory of wide models */
    WIDEST_OUTPUTS = ROW_FLOATS > ROW_INTEGERS ? ROW_FLOATS : ROW_INTEGERS,
    WIDEST = FEATURES > WIDEST_OUTPUTS ? FEATURES : WIDEST_OUTPUTS,
    ROWS_AT_ONCE = WIDEST <= MOST_NUMBERS / MAX_ROWS ? MAX_ROWS : WIDEST < MOST_NUMBERS ? MOST_NUMBERS / WIDEST : 1
};

extern double batch_values[ROWS_AT_ONCE * FEATURES]; /* [rows][FEATURES] as they came: counts are of these, not of their floats */
extern double batch_times[ROWS_AT_ONCE];             /* NaN: now */
extern int64_t batch_integers[ROWS_AT_ONCE * ROW_INTEGERS]; /* the outputs' values: each output [ROWS_AT_ONCE][its width], */
extern float batch_floats[ROWS_AT_ONCE * ROW_FLOATS];       /* one after the other */

const char *batch_setup(void);        /* NULL, or what the model's outputs should be and are not */
int batch_room(uint32_t rows);        /* 0, or 413 with a fault: too many numbers at once */
void batch_predict(const float *row); /* one row without any check, into the first places */
int batch_score(uint32_t rows);       /* 0, or with a fault what kind_check says: the answers are not what this kind of model gives */
void batch_count(uint32_t rows, uint64_t began_ns);
void batch_release(uint32_t rows); /* gives the memory of a large batch back */

/* Where an output's values of the first row are, in the one of the two that is of its type. */
static inline size_t batch_start(uint32_t output) {
    return (size_t)data_outputs[output].first * ROWS_AT_ONCE;
}

#endif
