/* The golden rows, before anybody is served: a server that would answer wrongly must not answer at all. The answers were
   recorded with onnxruntime, so they hold within LIMIT; a row whose recorded answer is NaN must give NaN. */
#include "selftest.h"

#include "batch.h"
#include "fault.h"

#define LIMIT 1e-6

static bool close_to(float expected, float got, double *worst) {
    double difference = (double)expected - (double)got;
    difference = difference < 0 ? -difference : difference;
    if (expected != expected)
        return got != got;
    if (!(difference <= LIMIT))
        return false;
    *worst = difference > *worst ? difference : *worst;
    return true;
}

/* Rows with infinities and answers without a sum are no requests, so they go by the model itself. */
static bool row_right(uint32_t row, double *worst) {
    const float *expected = data_golden_probabilities + (size_t)row * CLASSES;
    uint32_t label = data_golden_labels[row];
    batch_predict(data_golden_rows + (size_t)row * FEATURES);
    for (uint32_t i = 0; i < CLASSES; i++)
        if (!close_to(expected[i], batch_scores[i], worst)) {
            refuse(0, "self-test: golden row %u: expected %f for class %u, got %f", (uint64_t)row, (double)expected[i], (uint64_t)i,
                   (double)batch_scores[i]);
            return false;
        }
    uint64_t got = (uint64_t)batch_labels[0];
    bool tie = got < CLASSES && batch_scores[label] - batch_scores[got] <= LIMIT && batch_scores[got] - batch_scores[label] <= LIMIT;
    if (got == label || tie || expected[0] != expected[0])
        return true;
    refuse(0, "self-test: golden row %u: expected the label %u, got %u", (uint64_t)row, (uint64_t)label, got);
    return false;
}

bool selftest(double *worst) {
    *worst = 0;
    const char *problem = batch_setup();
    if (problem) {
        refuse(0, "%s", problem);
        return false;
    }
    for (uint32_t row = 0; row < GOLDEN_ROWS; row++)
        if (!row_right(row, worst))
            return false;
    return true;
}
