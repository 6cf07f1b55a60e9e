/* Reads inference requests: the Open Inference Protocol V2 with its binary tensor extension. */
#include "v2.h"

#include <string.h>

#include "fault.h"
#include "json.h"
#include "number.h"

/* `parameters` of an output, as a message says where. */
static const char *parameters_of(uint64_t place) {
    static char room[48];
    writer w = writer_on(room, sizeof room);
    put_text(&w, "outputs[");
    put_u64(&w, place);
    put(&w, "].parameters", sizeof "].parameters");
    return room;
}

static int output_read(inference *q, slice item, uint64_t place) {
    slice name = {NULL, 0}, parameters = {NULL, 0};
    if (!json_is_object(item))
        return refuse(400, "outputs[%u]: expected an object, got %j", place, item);
    for (json_walk walk = json_enter(item); json_next(&walk);) {
        if (json_equals(walk.key, SLICE("name")))
            name = walk.value;
        else if (json_equals(walk.key, SLICE("parameters")))
            parameters = walk.value;
    }
    uint32_t which = 0;
    while (which < OUTPUTS && !(json_is_text(name) && json_equals(name, data_outputs[which].name)))
        which++;
    for (uint32_t i = 0; i < q->count; i++)
        which = q->wanted[i] == which ? OUTPUTS : which;
    if (which == OUTPUTS)
        return refuse(400, "outputs[%u].name: expected one of %t, each once, got %j", place, data_output_names, name);
    q->wanted[q->count++] = which;
    q->binary[which] = q->all_binary;
    return v2_wish(parameters, parameters_of(place), SLICE("binary_data"), &q->binary[which]);
}

static int outputs_read(inference *q, slice outputs) {
    if (!v2_absent(outputs) && !json_is_list(outputs))
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
        q->wanted[q->count] = q->count;
        q->binary[q->count] = q->all_binary;
    }
    return 0;
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
        return refuse(400, V2_LENGTH_HEADER ": expected a whole number, got \"%t\"", length);
    if (end > json->bytes)
        return refuse(400, V2_LENGTH_HEADER ": expected at most %u, the bytes of the body, got %u", (uint64_t)json->bytes, end);
    q->behind = (slice){json->text + end, json->bytes - end};
    json->bytes = end;
    return 0;
}

/* KServe's client repeats the model's name in the body. */
static int named_right(const char *key, slice value, slice here) {
    if (v2_absent(value) || (json_is_text(value) && json_equals(value, here)))
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
    status = status ? status : v2_members(document, "", keys, 6, m);
    status = status ? status : named_right("model_name", m[4], data_loop);
    status = status ? status : named_right("model_version", m[5], data_version);
    if (status)
        return status;
    if (m[0].bytes && !json_is_text(m[0]))
        return refuse(400, "id: expected text, got %j", m[0]);
    q->id = m[0];
    status = v2_wish(m[1], "parameters", SLICE("binary_data_output"), &q->all_binary);
    status = status ? status : outputs_read(q, m[3]);
    return status ? status : v2_tensor_read(q, m[2]);
}
