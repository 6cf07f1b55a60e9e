/* An inference request of the Open Inference Protocol V2, read; and its answer. */
#ifndef EDGELOOP_V2_H
#define EDGELOOP_V2_H

#include "document.h"
#include "service.h"

#define V2_LENGTH_HEADER "Inference-Header-Content-Length"

typedef struct {
    slice id;     /* as it was spelled; empty: none */
    slice behind; /* what follows the JSON; no text: nothing was said to follow */
    bool all_binary;
    uint32_t rows, count;
    uint32_t wanted[OUTPUTS];
    bool binary[OUTPUTS]; /* by output */
} inference;

int v2_read(const service_request *request, inference *q); /* fills the batch; 0, or the status with a fault */
int v2_tensor_read(inference *q, slice inputs);            /* its part: `inputs` */
void v2_write(const inference *q, writer *body, service_answer *answer);

/* Readers of what an object holds. 0, or 400 with a fault. */
bool v2_absent(slice value);
int v2_members(slice object, const char *where, const slice *keys, uint32_t count, slice *places);
int v2_parameters(slice parameters, const char *where, slice name, slice *value);
int v2_wish(slice parameters, const char *where, slice name, bool *set);

#endif
