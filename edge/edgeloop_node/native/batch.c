/* Runs the model over a batch and holds its answers to what probabilities are: none below 0, the sum 1 (within 1e-6; up to
   1e-3 is rounding of many classes and is made good), the label one of the classes. Anything else is an error of ours. */
#define _GNU_SOURCE
#include "batch.h"

#include <sys/mman.h>

#include "clock.h"
#include "fault.h"
#include "memory.h"
#include "monitor.h"

#define SUM_LIMIT 1e-6
#define SOUND_LIMIT 1e-3

enum { CHUNK = 16, LARGE_BYTES = 32768 };

double batch_values[MAX_VALUES];
double batch_times[MAX_ROWS];
int64_t batch_labels[MAX_ROWS];
float batch_scores[MAX_SCORES];

static float chunk[CHUNK * FEATURES];
static char scratch[MODEL_SCRATCH_BYTES + 16] __attribute__((aligned(16)));
static uint32_t label_output, scores_output;
static void *outputs[MODEL_OUTPUT_COUNT]; /* those that nobody asks for need a place, too */

static bool is_output(uint32_t i, const char *name, model_type type, uint64_t width) {
    const model_tensor *t = &model_outputs[i];
    return same(slice_of(t->name), slice_of(name)) && t->type == type && t->width == width;
}

static bool place_for(uint32_t i) {
    size_t bytes = (size_t)model_outputs[i].width * CHUNK * (model_outputs[i].type == MODEL_INT64 ? 8 : 4);
    outputs[i] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return outputs[i] != MAP_FAILED;
}

const char *batch_setup(void) {
    bool label = false, scores = false;
    for (uint32_t i = 0; i < MODEL_OUTPUT_COUNT; i++) {
        if (is_output(i, "label", MODEL_INT64, 1)) {
            label_output = i;
            label = true;
        } else if (is_output(i, "probabilities", MODEL_FLOAT32, CLASSES)) {
            scores_output = i;
            scores = true;
        } else if (!place_for(i))
            return "the model: no memory for its outputs";
    }
    return label && scores ? NULL : "the model: expected the outputs label (int64, one a row) and probabilities (float32, one a class)";
}

int batch_room(uint32_t rows) {
    uint32_t wide = FEATURES > CLASSES ? FEATURES : CLASSES;
    uint64_t most = (wide == FEATURES ? MAX_VALUES : MAX_SCORES) / wide;
    return rows <= most ? 0 : refuse(413, "rows: this model takes at most %u rows at once, got %u", most, (uint64_t)rows);
}

static int check(uint32_t row) {
    float *p = batch_scores + (size_t)row * CLASSES;
    double total = 0;
    bool negative = false;
    for (uint32_t i = 0; i < CLASSES; i++) {
        total += p[i];
        negative |= !(p[i] >= 0);
    }
    if (batch_labels[row] < 0 || batch_labels[row] >= CLASSES)
        return refuse(500, "UnsoundScoreError: label: expected a class below %u, got another", (uint64_t)CLASSES);
    if (negative || !(total - 1 >= -SOUND_LIMIT && total - 1 <= SOUND_LIMIT))
        return refuse(500, "UnsoundScoreError: probabilities: expected numbers >= 0 with the sum 1, got the sum %f", total);
    bool exact = total - 1 >= -SUM_LIMIT && total - 1 <= SUM_LIMIT;
    for (uint32_t i = 0; i < CLASSES && !exact; i++)
        p[i] = (float)(p[i] / total);
    return 0;
}

void batch_predict(const float *row) {
    outputs[label_output] = batch_labels;
    outputs[scores_output] = batch_scores;
    model_predict(row, 1, outputs, scratch);
}

int batch_score(uint32_t rows) {
    for (uint32_t first = 0; first < rows; first += CHUNK) {
        uint32_t count = rows - first < CHUNK ? rows - first : CHUNK;
        const double *values = batch_values + (size_t)first * FEATURES;
        for (uint32_t i = 0; i < count * FEATURES; i++)
            chunk[i] = (float)values[i];
        outputs[label_output] = batch_labels + first;
        outputs[scores_output] = batch_scores + (size_t)first * CLASSES;
        model_predict(chunk, count, outputs, scratch);
        for (uint32_t row = first; row < first + count; row++)
            if (check(row))
                return 500;
    }
    return 0;
}

double batch_confidence(uint32_t row) {
    const float *p = batch_scores + (size_t)row * CLASSES;
    float most = p[0];
    for (uint32_t i = 1; i < CLASSES; i++)
        most = p[i] > most ? p[i] : most;
    return most;
}

void batch_count(uint32_t rows, uint64_t began_ns) {
    double now_s = unix_s(), latency_us = (double)(monotonic_ns() - began_ns) / 1000;
    uint32_t latency_bin = monitor_latency(latency_us, rows);
    for (uint32_t row = 0; row < rows; row++) {
        double time_s = batch_times[row] == batch_times[row] ? batch_times[row] : now_s, confidence = batch_confidence(row);
        monitor_row(batch_values + (size_t)row * FEATURES, (uint32_t)batch_labels[row], confidence < 1 ? confidence : 1,
                    window_start(time_s), latency_bin);
    }
}

void batch_release(uint32_t rows) {
    size_t values = (size_t)rows * FEATURES * sizeof(double), scores = (size_t)rows * CLASSES * sizeof(float);
    values = values < sizeof batch_values ? values : sizeof batch_values;
    scores = scores < sizeof batch_scores ? scores : sizeof batch_scores;
    if (values > LARGE_BYTES)
        memory_release(batch_values, values);
    if (scores > LARGE_BYTES)
        memory_release(batch_scores, scores);
}
