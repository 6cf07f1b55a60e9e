/* An inference request of the Open Inference Protocol V2, read; and its answer. */
#ifndef EDGELOOP_V2_H
#define EDGELOOP_V2_H

#include "service.h"

enum { LABEL, PROBABILITIES, OUTPUTS };

typedef struct {
    slice id;     /* as it was spelled; empty: none */
    slice behind; /* what follows the JSON; no text: nothing was said to follow */
    bool all_binary;
    uint32_t rows, count;
    uint8_t wanted[OUTPUTS];
    bool binary[OUTPUTS]; /* by output */
} inference;

extern const slice v2_outputs[OUTPUTS];

int v2_read(const service_request *request, inference *q); /* fills the batch; 0, or the status with a fault */
void v2_write(const inference *q, writer *body, service_answer *answer);

#endif
