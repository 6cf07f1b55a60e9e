/* Answers of a classifier. They are held to what probabilities are: none below 0, the sum 1 (within 1e-6; up to 1e-3 is
   rounding of many classes and is made good), the label one of the classes. Anything else is an error of ours, but for NaN
   as the answer to a row that has missing values: the caller is told which. */
#include "data.h"
#if CLASSES
#include "batch.h"
#include "fault.h"
#include "kind.h"
#include "number.h"

#define SUM_LIMIT 1e-6
#define SOUND_LIMIT 1e-3
#define GOLDEN_LIMIT 1e-6

const char kind_outputs[] = "the model: expected the outputs label (int64, one a row) and probabilities (float32, one a class)";

static float *probabilities(uint32_t row) {
    return batch_floats + (size_t)row * CLASSES;
}

enum { MOST_NAMED = 8 };

/* The names of a row's missing features; empty when there are none. */
static const char *missing_of(const double *values) {
    static char names[MOST_NAMED * (LONGEST_NAME_BYTES + 2) + 8];
    writer w = writer_on(names, sizeof names - 1);
    uint32_t count = 0;
    for (uint32_t i = 0; i < FEATURES; i++)
        if (values[i] != values[i] && count++ < MOST_NAMED) {
            put_text(&w, count > 1 ? ", " : "");
            put_slice(&w, data_features[i].name);
        }
    put_text(&w, count > MOST_NAMED ? ", ..." : "");
    names[written(&w).bytes] = 0;
    return names;
}

static int unanswered(int64_t place, const char *names) {
    return refuse(400, "%wfeatures: the model has no answer to a row without %s", place, names);
}

int kind_check(uint32_t row, int64_t place) {
    float *p = probabilities(row);
    double total = 0;
    bool negative = false;
    for (uint32_t i = 0; i < CLASSES; i++) {
        total += p[i];
        negative |= !(p[i] >= 0);
    }
    const char *missing = total != total ? missing_of(batch_values + (size_t)row * FEATURES) : "";
    if (*missing)
        return unanswered(place, missing);
    if (batch_integers[row] < 0 || batch_integers[row] >= CLASSES)
        return refuse(500, "UnsoundScoreError: label: expected a class below %u, got another", (uint64_t)CLASSES);
    if (negative || !(total - 1 >= -SOUND_LIMIT && total - 1 <= SOUND_LIMIT))
        return refuse(500, "UnsoundScoreError: probabilities: expected numbers >= 0 with the sum 1, got the sum %f", total);
    bool exact = total - 1 >= -SUM_LIMIT && total - 1 <= SUM_LIMIT;
    for (uint32_t i = 0; i < CLASSES && !exact; i++)
        p[i] = (float)(p[i] / total);
    return 0;
}

static double confidence_of(uint32_t row) {
    const float *p = probabilities(row);
    float most = p[0];
    for (uint32_t i = 1; i < CLASSES; i++)
        most = p[i] > most ? p[i] : most;
    return most;
}

static uint32_t confidence_bin(double confidence) {
    double scaled = confidence * CONFIDENCE_BINS;
    int32_t whole = (int32_t)scaled, bin = scaled == whole ? whole - 1 : whole;
    return (uint32_t)(bin < 0 ? 0 : bin >= CONFIDENCE_BINS ? CONFIDENCE_BINS - 1 : bin);
}

void kind_count(window *w, uint32_t row) {
    double largest = confidence_of(row), confidence = largest < 1 ? largest : 1;
    uint32_t bin = confidence_bin(confidence);
    w->classes[batch_integers[row]]++;
    w->confidence[bin]++;
    w->confidence_sums[bin] += (uint64_t)nearest_integer(confidence * 1e6);
}

void kind_write(uint32_t row, writer *body) {
    const float *p = probabilities(row);
    put_slice(body, data_class_heads[batch_integers[row]]);
    for (uint32_t i = 0; i < CLASSES; i++) {
        if (i)
            put_char(body, ',');
        put_slice(body, data_class_keys[i]);
        put_float(body, p[i]);
    }
    put_text(body, "},\"confidence\":");
    put_float(body, (float)confidence_of(row));
}

static bool close_to(float expected, float got, double *worst) {
    double difference = (double)expected - (double)got;
    difference = difference < 0 ? -difference : difference;
    if (expected != expected)
        return got != got;
    if (!(difference <= GOLDEN_LIMIT))
        return false;
    *worst = difference > *worst ? difference : *worst;
    return true;
}

/* A row whose recorded answer is NaN must give NaN, with any label. */
bool kind_golden(uint32_t row, double *worst) {
    const float *expected = data_golden_floats + (size_t)row * CLASSES, *scores = batch_floats;
    uint64_t label = (uint64_t)data_golden_integers[row], got = (uint64_t)batch_integers[0];
    for (uint32_t i = 0; i < CLASSES; i++)
        if (!close_to(expected[i], scores[i], worst)) {
            refuse(0, "self-test: golden row %u: expected %f for class %u, got %f", (uint64_t)row, (double)expected[i], (uint64_t)i,
                   (double)scores[i]);
            return false;
        }
    bool tie = got < CLASSES && scores[label] - scores[got] <= GOLDEN_LIMIT && scores[got] - scores[label] <= GOLDEN_LIMIT;
    if (got == label || tie || expected[0] != expected[0])
        return true;
    refuse(0, "self-test: golden row %u: expected the label %u, got %u", (uint64_t)row, label, got);
    return false;
}
#endif
