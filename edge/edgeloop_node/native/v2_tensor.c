/* Reads the one tensor of an inference request, from JSON or from the bytes behind it, into the batch. FP32 only: the server
   does not coerce. In JSON null is a missing value, in binary NaN; infinities are refused. */
#include <math.h>
#include <string.h>

#include "batch.h"
#include "fault.h"
#include "json.h"
#include "number.h"
#include "v2.h"
#include "values.h"

enum { RANK = 1 + INPUT_RANK, SHOWN = 256 };

static slice name_of(slice item) {
    slice name = {NULL, 0};
    if (!json_is_object(item))
        return item;
    for (json_walk walk = json_enter(item); json_next(&walk);)
        if (json_equals(walk.key, SLICE("name")))
            name = walk.value;
    return name;
}

static int tensor_find(slice inputs, slice *tensor) {
    json_walk walk;
    *tensor = (slice){NULL, 0};
    if (json_is_list(inputs)) {
        walk = json_enter(inputs);
        if (json_next(&walk) && json_is_object(walk.value))
            *tensor = walk.value;
    }
    if (!tensor->bytes)
        return refuse(400, "inputs: expected a list with one tensor object, got %j", inputs);
    uint64_t i = 0;
    for (walk = json_enter(inputs); json_next(&walk); i++) {
        slice name = name_of(walk.value);
        if (i > 0 || !json_is_text(name) || !json_equals(name, data_input_name))
            return refuse(400, "inputs[%u].name: expected the one input %t, got %j", i, data_input_name, name);
    }
    return 0;
}

static int shape_refused(slice shape) {
    static char room[SHOWN];
    writer w = writer_on(room, sizeof room);
    uint32_t count = 0;
    bool whole = json_is_list(shape);
    if (whole)
        for (json_walk walk = json_enter(shape); json_next(&walk); count++) {
            whole &= json_is_whole(walk.value);
            put_text(&w, count ? ", " : "[");
            put_slice(&w, walk.value);
        }
    put_char(&w, ']');
    if (whole && count == RANK && !w.full)
        return refuse(400, "inputs[0].shape: expected %t with N from 1 to 1000, got %t", data_input_shape, written(&w));
    return refuse(400, "inputs[0].shape: expected %t with N from 1 to 1000, got %j", data_input_shape, shape);
}

static int shape_read(inference *q, slice shape) {
    double rows = 0, size;
    uint32_t count = 0;
    bool fits = json_is_list(shape);
    if (fits)
        for (json_walk walk = json_enter(shape); fits && json_next(&walk); count++) {
            fits = count < RANK && json_is_whole(walk.value);
            if (fits) {
                number_read(walk.value.text, walk.value.text + walk.value.bytes, &size);
                fits = count ? size == data_input_sizes[count - 1] : size >= 1 && size <= MAX_ROWS;
                rows = count ? rows : size;
            }
        }
    if (!fits || count != RANK)
        return shape_refused(shape);
    int status = batch_room((uint32_t)rows);
    if (!status)
        q->rows = (uint32_t)rows; /* what is released afterwards: never more than there is room for */
    return status;
}

/* A walk over data: how far the batch is filled, and the first value that is no number. */
typedef struct {
    uint32_t filled, bad;
    slice bad_value;
} filling;

/* The numbers of a flat list into the batch, as far as there is room; how many the list has. */
static uint32_t numbers_read(filling *f, slice list, uint32_t room) {
    uint32_t i = 0, first = f->filled;
    for (json_walk walk = json_enter(list); json_next(&walk); i++) {
        double ignored;
        if (!value_number(walk.value, i < room ? &batch_values[first + i] : &ignored) && !f->bad_value.bytes) {
            f->bad = first + i;
            f->bad_value = walk.value;
        }
    }
    f->filled += i < room ? i : room;
    return i;
}

/* Lists in lists as the shape says; `level` counts the axes before this list's. */
static bool nested_read(filling *f, slice list, uint32_t level, uint32_t items) {
    uint32_t found = 0;
    if (level == INPUT_RANK)
        return numbers_read(f, list, items) == items;
    bool fits = true;
    for (json_walk walk = json_enter(list); fits && json_next(&walk); found++)
        fits = found < items && json_is_list(walk.value) && nested_read(f, walk.value, level + 1, data_input_sizes[level]);
    return fits && found == items;
}

static int data_read(inference *q, slice data) {
    filling f = {0, 0, {NULL, 0}};
    uint32_t expected = q->rows * FEATURES;
    if (!json_is_list(data))
        return refuse(400, "inputs[0].data: expected a list, got %j", data);
    if (INPUT_RANK && *json_blanks(data.text + 1) == '[') {
        if (!nested_read(&f, data, 0, q->rows))
            return refuse(400, "inputs[0].data: expected %u lists of %t values, as the shape says", (uint64_t)q->rows, data_row_shape);
    } else {
        uint32_t count = numbers_read(&f, data, expected);
        if (count != expected)
            return refuse(400, "inputs[0].data: expected %u values, as the shape says, got %u", (uint64_t)expected, (uint64_t)count);
    }
    if (f.bad_value.bytes)
        return refuse(400, "inputs[0].data[%u]: expected a number that fits into float32, or null, got %j", (uint64_t)f.bad, f.bad_value);
    return 0;
}

static int behind_check(const inference *q, uint64_t expected) {
    if (q->behind.bytes == expected)
        return 0;
    return refuse(400, "body: expected %u bytes after the JSON text, got %u", expected, (uint64_t)q->behind.bytes);
}

static int binary_read(inference *q, slice data, slice size) {
    static const char where[] = "inputs[0].parameters.binary_data_size";
    uint32_t values = q->rows * FEATURES;
    double given;
    if (!q->behind.text)
        return refuse(400, "%s: expected the request header " V2_LENGTH_HEADER " with it, got none", where);
    if (data.bytes)
        return refuse(400, "inputs[0].data: expected none beside parameters.binary_data_size");
    if (!json_is_whole(size) || !value_number(size, &given) || given != values * 4.0)
        return refuse(400, "%s: expected %u, four bytes for each value of the shape, got %j", where, (uint64_t)values * 4, size);
    if (behind_check(q, values * 4))
        return 400;
    for (uint32_t i = 0; i < values; i++) {
        float value;
        memcpy(&value, q->behind.text + (size_t)i * 4, 4);
        if (isinf(value))
            return refuse(400, "inputs[0].data[%u]: expected a number that fits into float32, or NaN, got %s", (uint64_t)i,
                          value > 0 ? "Infinity" : "-Infinity");
        batch_values[i] = value;
    }
    return 0;
}

int v2_tensor_read(inference *q, slice inputs) {
    static const slice keys[] = {SLICE("name"), SLICE("shape"), SLICE("datatype"), SLICE("parameters"), SLICE("data")};
    slice tensor, size, m[5] = {{NULL, 0}};
    int status = tensor_find(inputs, &tensor);
    status = status ? status : v2_members(tensor, "inputs[0].", keys, 5, m);
    status = status ? status : v2_parameters(m[3], "inputs[0].parameters", SLICE("binary_data_size"), &size);
    if (status)
        return status;
    if (!json_is_text(m[2]) || !json_equals(m[2], SLICE("FP32")))
        return refuse(400, "inputs[0].datatype: expected FP32, got %j", m[2]);
    status = shape_read(q, m[1]);
    if (status)
        return status;
    if (size.bytes)
        return binary_read(q, m[4], size);
    return behind_check(q, 0) ? 400 : data_read(q, m[4]);
}
