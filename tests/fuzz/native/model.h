/* The fuzzers' model: three features, three classes. */
#ifndef FUZZ_MODEL_H
#define FUZZ_MODEL_H

#include <stdint.h>

#define MODEL_INPUT_WIDTH 3
#define MODEL_OUTPUT_COUNT 2
#define MODEL_SCRATCH_BYTES 0

typedef enum { MODEL_FLOAT32 = 1, MODEL_INT64 = 2 } model_type;
typedef struct {
    const char *name;
    model_type type;
    uint32_t rank;
    const int64_t *shape;
    uint64_t width;
} model_tensor;

extern const model_tensor model_input;
extern const uint32_t model_output_count;
extern const model_tensor model_outputs[];
extern const uint64_t model_scratch_bytes;
void model_predict(const float *x, uint64_t rows, void *const *outputs, void *scratch);

#endif
