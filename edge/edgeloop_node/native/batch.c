/* Runs the model over a batch, a few rows at a time, into memory that is there from the start. */
#define _GNU_SOURCE
#include "batch.h"

#include <sys/mman.h>

#include "clock.h"
#include "fault.h"
#include "kind.h"
#include "memory.h"
#include "monitor.h"

enum { CHUNK = 16, LARGE_BYTES = 32768 };

double batch_values[ROWS_AT_ONCE * FEATURES];
double batch_times[ROWS_AT_ONCE];
int64_t batch_integers[ROWS_AT_ONCE * ROW_INTEGERS];
float batch_floats[ROWS_AT_ONCE * ROW_FLOATS];

static float chunk[CHUNK * FEATURES];
static char scratch[MODEL_SCRATCH_BYTES + 16] __attribute__((aligned(16)));
static uint32_t given_as[OUTPUTS];        /* the place of each output among the model's */
static void *outputs[MODEL_OUTPUT_COUNT]; /* those that nobody asks for need a place, too */

static bool is_output(const model_tensor *t, const output_data *o) {
    return same(slice_of(t->name), o->name) && t->type == (o->whole ? MODEL_INT64 : MODEL_FLOAT32) && t->width == o->width;
}

static bool place_for(uint32_t i) {
    size_t bytes = (size_t)model_outputs[i].width * CHUNK * (model_outputs[i].type == MODEL_INT64 ? 8 : 4);
    outputs[i] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return outputs[i] != MAP_FAILED;
}

const char *batch_setup(void) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < MODEL_OUTPUT_COUNT; i++) {
        uint32_t o = 0;
        while (o < OUTPUTS && !is_output(&model_outputs[i], &data_outputs[o]))
            o++;
        if (o < OUTPUTS) {
            given_as[o] = i;
            found++;
        } else if (!place_for(i))
            return "the model: no memory for its outputs";
    }
    return found == OUTPUTS ? NULL : kind_outputs;
}

int batch_room(uint32_t rows) {
    return rows <= ROWS_AT_ONCE
               ? 0
               : refuse(413, "rows: this model takes at most %u rows at once, got %u", (uint64_t)ROWS_AT_ONCE, (uint64_t)rows);
}

static void run(const float *rows, uint32_t first, uint32_t count) {
    for (uint32_t o = 0; o < OUTPUTS; o++) {
        size_t place = batch_start(o) + (size_t)first * data_outputs[o].width;
        outputs[given_as[o]] = data_outputs[o].whole ? (void *)(batch_integers + place) : (void *)(batch_floats + place);
    }
    model_predict(rows, count, outputs, scratch);
}

void batch_predict(const float *row) {
    run(row, 0, 1);
}

int batch_score(uint32_t rows) {
    int status;
    for (uint32_t first = 0; first < rows; first += CHUNK) {
        uint32_t count = rows - first < CHUNK ? rows - first : CHUNK;
        const double *values = batch_values + (size_t)first * FEATURES;
        for (uint32_t i = 0; i < count * FEATURES; i++)
            chunk[i] = (float)values[i];
        run(chunk, first, count);
        for (uint32_t row = first; row < first + count; row++)
            if ((status = kind_check(row, rows > 1 ? (int64_t)row : -1)) != 0)
                return status;
    }
    return 0;
}

void batch_count(uint32_t rows, uint64_t began_ns) {
    double now_s = unix_s(), latency_us = (double)(monotonic_ns() - began_ns) / 1000;
    uint32_t latency_bin = monitor_latency(latency_us, rows);
    for (uint32_t row = 0; row < rows; row++) {
        double time_s = batch_times[row] == batch_times[row] ? batch_times[row] : now_s;
        window *w = monitor_row(batch_values + (size_t)row * FEATURES, window_start(time_s), latency_bin);
        if (w)
            kind_count(w, row);
    }
}

static void release(void *start, size_t bytes) {
    if (bytes > LARGE_BYTES)
        memory_release(start, bytes);
}

void batch_release(uint32_t rows) {
    rows = rows < ROWS_AT_ONCE ? rows : ROWS_AT_ONCE;
    release(batch_values, (size_t)rows * FEATURES * sizeof(double));
    for (uint32_t o = 0; o < OUTPUTS; o++) {
        size_t values = (size_t)rows * data_outputs[o].width;
        if (data_outputs[o].whole)
            release(batch_integers + batch_start(o), values * sizeof(int64_t));
        else
            release(batch_floats + batch_start(o), values * sizeof(float));
    }
}
