/* The model's outputs as requests get them: JSON numbers, or little-endian bytes. */
#ifndef EDGELOOP_TENSOR_H
#define EDGELOOP_TENSOR_H

#include "batch.h"

void tensor_write(uint32_t output, uint32_t first_row, uint32_t rows, writer *body); /* with commas; null: not finite */
slice tensor_bytes(uint32_t output, uint32_t rows);                                  /* of the rows from the first on */

#endif
