#include "tensor.h"

#include "number.h"

static void put_value(const output_data *o, size_t place, writer *body) {
    if (o->whole)
        put_i64(body, batch_integers[place]);
    else if (batch_floats[place] - batch_floats[place] == 0)
        put_float(body, batch_floats[place]);
    else
        put_text(body, "null");
}

void tensor_write(uint32_t output, uint32_t first_row, uint32_t rows, writer *body) {
    const output_data *o = &data_outputs[output];
    size_t start = batch_start(output) + (size_t)first_row * o->width;
    for (uint32_t i = 0; i < rows * o->width; i++) {
        if (i)
            put_char(body, ',');
        put_value(o, start + i, body);
    }
}

slice tensor_bytes(uint32_t output, uint32_t rows) {
    const output_data *o = &data_outputs[output];
    size_t values = (size_t)rows * o->width, start = batch_start(output);
    if (o->whole)
        return (slice){(const char *)(batch_integers + start), values * sizeof(int64_t)};
    return (slice){(const char *)(batch_floats + start), values * sizeof(float)};
}
