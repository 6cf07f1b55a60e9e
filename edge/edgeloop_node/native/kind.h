/* What kind of answers the model gives: classes.c holds classifiers (a label and probabilities), quantities.c all others.
   The documents say which (CLASSES), so only one of them is more than an empty file in a server. */
#ifndef EDGELOOP_KIND_H
#define EDGELOOP_KIND_H

#include "monitor.h"

extern const char kind_outputs[]; /* what the model's outputs must be */

/* 0, or with a fault: 400 where the row lacks what the model needs (`place`: its place in the request, or -1 for the only one),
   500 for what is no answer of this kind; may mend rounding */
int kind_check(uint32_t row, int64_t place);
void kind_count(window *w, uint32_t row);          /* the answer, into the window of its row */
void kind_write(uint32_t row, writer *body);       /* the answer as members of /score's JSON, each with a comma before it */
bool kind_golden(uint32_t row, double *difference); /* golden row `row`, scored into the first places; false with a fault */

#endif
