/* Reads inference requests: the Open Inference Protocol V2 with its binary tensor extension. FP32 only: the server does not
   coerce. In JSON null is a missing value, in binary NaN; infinities are refused. */
#include "v2.h"

#include <math.h>
#include <string.h>

#include "batch.h"
#include "fault.h"
#include "json.h"
#include "number.h"
#include "values.h"

#define HEADER "Inference-Header-Content-Length"

const slice v2_outputs[OUTPUTS] = {SLICE("label"), SLICE("probabilities")};

/* Sorts an object's members into `places`, in the order of `keys`. */
static int members(slice object, const char *where, const slice *keys, uint32_t count, slice *places) {
    for (json_walk walk = json_enter(object); json_next(&walk);) {
        uint32_t i = 0;
        while (i < count && !json_equals(walk.key, keys[i]))
            i++;
        if (i == count)
            return refuse(400, "%s%k: unknown field %m", where, walk.key, walk.key, keys, count);
        places[i] = walk.value;
    }
    return 0;
}

static bool absent(slice value) {
    return value.bytes == 0 || json_is_null(value);
}

/* Checks an object of parameters; *value becomes that of `name`, empty when it is not there. */
static int parameters_read(slice parameters, const char *where, slice name, slice *value) {
    *value = (slice){NULL, 0};
    if (absent(parameters))
        return 0;
    if (!json_is_object(parameters))
        return refuse(400, "%s: expected an object, got %j", where, parameters);
    for (json_walk walk = json_enter(parameters); json_next(&walk);) {
        if (json_is_null(walk.value) || json_is_list(walk.value) || json_is_object(walk.value))
            return refuse(400, "%s.%k: expected a string, a number or a boolean, got %j", where, walk.key, walk.value);
        if (json_equals(walk.key, name))
            *value = walk.value;
    }
    return 0;
}

static int wish_read(slice parameters, const char *where, slice name, bool *set) {
    slice value;
    if (parameters_read(parameters, where, name, &value))
        return 400;
    if (value.bytes && !json_is_boolean(value))
        return refuse(400, "%s.%t: expected true or false, got %j", where, name, value);
    if (value.bytes)
        *set = *value.text == 't';
    return 0;
}

static int output_read(inference *q, slice item, uint64_t place) {
    static const char *const where[] = {"outputs[0].parameters", "outputs[1].parameters"};
    slice name = {NULL, 0}, parameters = {NULL, 0};
    if (!json_is_object(item))
        return refuse(400, "outputs[%u]: expected an object, got %j", place, item);
    for (json_walk walk = json_enter(item); json_next(&walk);) {
        if (json_equals(walk.key, SLICE("name")))
            name = walk.value;
        else if (json_equals(walk.key, SLICE("parameters")))
            parameters = walk.value;
    }
    uint8_t which = 0;
    while (which < OUTPUTS && !(json_is_text(name) && json_equals(name, v2_outputs[which])))
        which++;
    for (uint32_t i = 0; i < q->count; i++)
        which = q->wanted[i] == which ? OUTPUTS : which;
    if (which == OUTPUTS)
        return refuse(400, "outputs[%u].name: expected one of label, probabilities, each once, got %j", place, name);
    q->wanted[q->count++] = which;
    q->binary[which] = q->all_binary;
    return wish_read(parameters, where[place], SLICE("binary_data"), &q->binary[which]);
}

static int outputs_read(inference *q, slice outputs) {
    if (!absent(outputs) && !json_is_list(outputs))
        return refuse(400, "outputs: expected a list, got %j", outputs);
    if (json_is_list(outputs)) {
        uint64_t place = 0;
        for (json_walk walk = json_enter(outputs); json_next(&walk); place++)
            if (output_read(q, walk.value, place))
                return 400;
    }
    if (q->count)
        return 0;
    for (; q->count < OUTPUTS; q->count++) {
        q->wanted[q->count] = (uint8_t)q->count;
        q->binary[q->count] = q->all_binary;
    }
    return 0;
}

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
        if (i > 0 || !json_is_text(name) || !json_equals(name, SLICE("X")))
            return refuse(400, "inputs[%u].name: expected the one input X, got %j", i, name);
    }
    return 0;
}

static int shape_refused(slice shape) {
    slice sizes[2] = {{NULL, 0}, {NULL, 0}};
    uint32_t count = 0;
    bool whole = json_is_list(shape);
    if (whole)
        for (json_walk walk = json_enter(shape); json_next(&walk); count++) {
            whole &= json_is_whole(walk.value);
            if (count < 2)
                sizes[count] = walk.value;
        }
    if (whole && count == 2)
        return refuse(400, "inputs[0].shape: expected [N, %u] with N from 1 to 1000, got [%t, %t]", (uint64_t)FEATURES, sizes[0],
                      sizes[1]);
    return refuse(400, "inputs[0].shape: expected [N, %u] with N from 1 to 1000, got %j", (uint64_t)FEATURES, shape);
}

static int shape_read(inference *q, slice shape) {
    double sizes[2] = {0, 0};
    uint32_t count = 0;
    if (!json_is_list(shape))
        return shape_refused(shape);
    for (json_walk walk = json_enter(shape); json_next(&walk); count++) {
        if (count == 2 || !json_is_whole(walk.value))
            return shape_refused(shape);
        number_read(walk.value.text, walk.value.text + walk.value.bytes, &sizes[count]);
    }
    if (count != 2 || !(sizes[0] >= 1 && sizes[0] <= MAX_ROWS) || sizes[1] != FEATURES)
        return shape_refused(shape);
    int status = batch_room((uint32_t)sizes[0]);
    if (!status)
        q->rows = (uint32_t)sizes[0]; /* what is released afterwards: never more than there is room for */
    return status;
}

/* The numbers of a flat list into the batch from `first` on; *count becomes how many the list has, *bad the first that is
   no number. */
static void numbers_read(slice list, uint32_t first, uint32_t room, uint32_t *count, uint32_t *bad, slice *bad_value) {
    uint32_t i = 0;
    for (json_walk walk = json_enter(list); json_next(&walk); i++) {
        double ignored;
        if (!value_number(walk.value, i < room ? &batch_values[first + i] : &ignored) && !bad_value->bytes) {
            *bad = first + i;
            *bad_value = walk.value;
        }
    }
    *count = i;
}

static int nested_read(inference *q, slice data) {
    uint32_t row = 0, count = 0, bad = 0;
    slice bad_value = {NULL, 0};
    bool fits = true;
    for (json_walk walk = json_enter(data); fits && json_next(&walk); row++) {
        fits = row < q->rows && json_is_list(walk.value);
        if (fits)
            numbers_read(walk.value, row * FEATURES, FEATURES, &count, &bad, &bad_value);
        fits = fits && count == FEATURES;
    }
    if (!fits || row != q->rows)
        return refuse(400, "inputs[0].data: expected %u lists of %u values, as the shape says", (uint64_t)q->rows, (uint64_t)FEATURES);
    if (bad_value.bytes)
        return refuse(400, "inputs[0].data[%u]: expected a number that fits into float32, or null, got %j", (uint64_t)bad, bad_value);
    return 0;
}

static int data_read(inference *q, slice data) {
    uint32_t count, bad = 0, expected = q->rows * FEATURES;
    slice bad_value = {NULL, 0};
    if (!json_is_list(data))
        return refuse(400, "inputs[0].data: expected a list, got %j", data);
    if (*json_blanks(data.text + 1) == '[')
        return nested_read(q, data);
    numbers_read(data, 0, expected, &count, &bad, &bad_value);
    if (count != expected)
        return refuse(400, "inputs[0].data: expected %u values, as the shape says, got %u", (uint64_t)expected, (uint64_t)count);
    if (bad_value.bytes)
        return refuse(400, "inputs[0].data[%u]: expected a number that fits into float32, or null, got %j", (uint64_t)bad, bad_value);
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
        return refuse(400, "%s: expected the request header " HEADER " with it, got none", where);
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

static int tensor_read(inference *q, slice inputs) {
    static const slice keys[] = {SLICE("name"), SLICE("shape"), SLICE("datatype"), SLICE("parameters"), SLICE("data")};
    slice tensor, size, m[5] = {{NULL, 0}};
    int status = tensor_find(inputs, &tensor);
    status = status ? status : members(tensor, "inputs[0].", keys, 5, m);
    status = status ? status : parameters_read(m[3], "inputs[0].parameters", SLICE("binary_data_size"), &size);
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

/* Parts the body where the header says that the JSON ends. */
static int parted(const service_request *request, inference *q, slice *json) {
    slice length = request->json_length;
    uint64_t end = 0;
    *json = request->body;
    if (!length.text)
        return 0;
    bool digits = length.bytes >= 1 && length.bytes <= 18;
    for (size_t i = 0; digits && i < length.bytes; i++) {
        digits = length.text[i] >= '0' && length.text[i] <= '9';
        end = end * 10 + (uint64_t)(length.text[i] - '0');
    }
    if (!digits)
        return refuse(400, HEADER ": expected a whole number, got \"%t\"", length);
    if (end > json->bytes)
        return refuse(400, HEADER ": expected at most %u, the bytes of the body, got %u", (uint64_t)json->bytes, end);
    q->behind = (slice){json->text + end, json->bytes - end};
    json->bytes = end;
    return 0;
}

/* KServe's client repeats the model's name in the body. */
static int named_right(const char *key, slice value, slice here) {
    if (absent(value) || (json_is_text(value) && json_equals(value, here)))
        return 0;
    return refuse(400, "%s: expected %t, as the path says, got %j", key, here, value);
}

int v2_read(const service_request *request, inference *q) {
    static const slice keys[] = {SLICE("id"),      SLICE("parameters"), SLICE("inputs"),
                                 SLICE("outputs"), SLICE("model_name"), SLICE("model_version")};
    slice json, document, m[6] = {{NULL, 0}};
    memset(q, 0, sizeof *q);
    int status = parted(request, q, &json);
    status = status ? status : document_of(json, &document);
    status = status ? status : members(document, "", keys, 6, m);
    status = status ? status : named_right("model_name", m[4], data_loop);
    status = status ? status : named_right("model_version", m[5], data_version);
    if (status)
        return status;
    if (m[0].bytes && !json_is_text(m[0]))
        return refuse(400, "id: expected text, got %j", m[0]);
    q->id = m[0];
    status = wish_read(m[1], "parameters", SLICE("binary_data_output"), &q->all_binary);
    status = status ? status : outputs_read(q, m[3]);
    return status ? status : tensor_read(q, m[2]);
}
