/* The rows of one request on their way through the model: values in, labels and probabilities out, then the counts. */
#ifndef EDGELOOP_BATCH_H
#define EDGELOOP_BATCH_H

#include "document.h"

enum {
    MAX_ROWS = 1000,
    MOST_NUMBERS = 262144, /* of one request: a fixed bound on the memory of wide models */
    MAX_VALUES = MAX_ROWS * FEATURES < MOST_NUMBERS ? MAX_ROWS * FEATURES : FEATURES > MOST_NUMBERS ? FEATURES : MOST_NUMBERS,
    MAX_SCORES = MAX_ROWS * CLASSES < MOST_NUMBERS ? MAX_ROWS * CLASSES : CLASSES > MOST_NUMBERS ? CLASSES : MOST_NUMBERS
};

extern double batch_values[MAX_VALUES]; /* [rows][FEATURES] as they came: counts are of these, not of their floats */
extern double batch_times[MAX_ROWS];    /* NaN: now */
extern int64_t batch_labels[MAX_ROWS];
extern float batch_scores[MAX_SCORES]; /* [rows][CLASSES] */

const char *batch_setup(void);       /* NULL, or what the model's outputs should be and are not */
int batch_room(uint32_t rows);       /* 0, or 413 with a fault: too many numbers at once */
void batch_predict(const float *row); /* one row without any check, into the first places */
int batch_score(uint32_t rows);      /* 0, or 500 with a fault: the answers are no probabilities */
double batch_confidence(uint32_t row);
void batch_count(uint32_t rows, uint64_t began_ns);
void batch_release(uint32_t rows); /* gives the memory of a large batch back */

#endif
