/* Answers of a model without classes: a regressor, or any graph whose outputs are tensors of numbers. They are passed on as
   they are. A golden answer holds as parity has it: within LIMIT of the largest value of its row, or of the output's typical
   size where that is larger; whole numbers, infinities and NaN exactly. */
#include "data.h"
#if !CLASSES
#include "batch.h"
#include "fault.h"
#include "kind.h"
#include "tensor.h"

#define LIMIT 1e-5

const char kind_outputs[] = "the model: expected the outputs of golden.json, with their types and widths";

int kind_check(uint32_t row, int64_t place) {
    (void)row;
    (void)place;
    return 0;
}

void kind_count(window *w, uint32_t row) {
    (void)w;
    (void)row;
}

/* One value is a number, several are a list. */
void kind_write(uint32_t row, writer *body) {
    put_text(body, ",\"values\":{");
    for (uint32_t o = 0; o < OUTPUTS; o++) {
        bool one = data_outputs[o].width == 1;
        if (o)
            put_char(body, ',');
        put_slice(body, data_outputs[o].json);
        put_text(body, one ? ":" : ":[");
        tensor_write(o, row, 1, body);
        put_text(body, one ? "" : "]");
    }
    put_char(body, '}');
}

static bool is_finite(double value) {
    return value - value == 0;
}

/* The larger of the output's typical size and the row's largest finite value. */
static double scale_of(const float *expected, uint32_t width, double scale) {
    for (uint32_t i = 0; i < width; i++) {
        double size = expected[i] < 0 ? -(double)expected[i] : (double)expected[i];
        scale = is_finite(size) && size > scale ? size : scale;
    }
    return scale;
}

static bool close_to(double expected, double got, double scale, double *worst) {
    double difference = expected < got ? got - expected : expected - got;
    if (!is_finite(expected) || !is_finite(got))
        return expected == got || (expected != expected && got != got);
    if (!(difference <= LIMIT * scale))
        return false;
    *worst = difference / scale > *worst ? difference / scale : *worst;
    return true;
}

static bool wrong(uint32_t row, uint32_t output, uint32_t i, double expected, double got) {
    refuse(0, "self-test: golden row %u: expected %f for %t[%u], got %f", (uint64_t)row, expected, data_outputs[output].name, (uint64_t)i,
           got);
    return false;
}

static bool integers_right(uint32_t row, uint32_t output) {
    const output_data *o = &data_outputs[output];
    const int64_t *expected = data_golden_integers + (size_t)row * ROW_INTEGERS + o->first, *got = batch_integers + batch_start(output);
    for (uint32_t i = 0; i < o->width; i++)
        if (expected[i] != got[i])
            return wrong(row, output, i, (double)expected[i], (double)got[i]);
    return true;
}

static bool floats_right(uint32_t row, uint32_t output, double *worst) {
    const output_data *o = &data_outputs[output];
    const float *expected = data_golden_floats + (size_t)row * ROW_FLOATS + o->first, *got = batch_floats + batch_start(output);
    double scale = scale_of(expected, o->width, data_output_scales[output]);
    for (uint32_t i = 0; i < o->width; i++)
        if (!close_to(expected[i], got[i], scale, worst))
            return wrong(row, output, i, expected[i], got[i]);
    return true;
}

bool kind_golden(uint32_t row, double *worst) {
    for (uint32_t o = 0; o < OUTPUTS; o++)
        if (!(data_outputs[o].whole ? integers_right(row, o) : floats_right(row, o, worst)))
            return false;
    return true;
}
#endif
