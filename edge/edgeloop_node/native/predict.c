/* The model without a server, for proofs of parity. Works for any outputs; with -DPREDICT_MAIN a program of its own. */
#define _GNU_SOURCE
#include "predict.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "model.h"

enum { FAILED = 1, FIRST_BYTES = 1 << 20 };

static int wrong(const char *text) {
    ssize_t ignored = write(2, text, strlen(text));
    (void)ignored;
    return FAILED;
}

static void *pages(size_t bytes) {
    void *start = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return start == MAP_FAILED ? NULL : start;
}

static char *all_input(size_t *bytes) {
    size_t room = FIRST_BYTES;
    char *input = pages(room);
    for (*bytes = 0; input;) {
        ssize_t got = read(0, input + *bytes, room - *bytes);
        if (got <= 0)
            return got < 0 ? NULL : input;
        *bytes += (size_t)got;
        if (*bytes == room) {
            void *more = mremap(input, room, room * 2, MREMAP_MAYMOVE);
            input = more == MAP_FAILED ? NULL : more;
            room *= 2;
        }
    }
    return NULL;
}

static bool all_written(const char *bytes, size_t count) {
    while (count) {
        ssize_t done = write(1, bytes, count);
        if (done <= 0)
            return false;
        bytes += done;
        count -= (size_t)done;
    }
    return true;
}

int predict(void) {
    static char scratch[MODEL_SCRATCH_BYTES + 16] __attribute__((aligned(16)));
    void *outputs[MODEL_OUTPUT_COUNT];
    size_t bytes, widths[MODEL_OUTPUT_COUNT];
    char *input = all_input(&bytes);
    uint64_t rows = bytes / (MODEL_INPUT_WIDTH * sizeof(float));
    if (!input)
        return wrong("predict: stdin cannot be read\n");
    if (rows * MODEL_INPUT_WIDTH * sizeof(float) != bytes)
        return wrong("predict: expected whole rows of little-endian float32 on stdin\n");
    for (uint32_t i = 0; i < MODEL_OUTPUT_COUNT; i++) {
        widths[i] = (size_t)(model_outputs[i].width * rows * (model_outputs[i].type == MODEL_INT64 ? 8u : 4u));
        outputs[i] = pages(widths[i]);
        if (!outputs[i])
            return wrong("predict: no memory for the outputs\n");
    }
    model_predict((const float *)input, rows, outputs, scratch);
    for (uint32_t i = 0; i < MODEL_OUTPUT_COUNT; i++)
        if (!all_written(outputs[i], widths[i]))
            return wrong("predict: stdout cannot be written\n");
    return 0;
}

#ifdef PREDICT_MAIN
int main(void) {
    return predict();
}
#endif
