/* POST /v2/models/<loop>/infer: scores what v2.c read, and writes the answer, each output in JSON or behind it in binary. */
#include <math.h>

#include "batch.h"
#include "number.h"
#include "v2.h"

static uint64_t bytes_of(uint8_t output, uint32_t rows) {
    return output == LABEL ? (uint64_t)rows * sizeof(int64_t) : (uint64_t)rows * CLASSES * sizeof(float);
}

static void values_write(uint8_t output, uint32_t rows, writer *body) {
    uint32_t count = output == LABEL ? rows : rows * CLASSES;
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            put_char(body, ',');
        if (output == LABEL)
            put_u64(body, (uint64_t)batch_labels[i]);
        else
            put_float(body, batch_scores[i]);
    }
}

static void output_write(const inference *q, uint8_t output, writer *body) {
    put_text(body, output == LABEL ? "{\"name\":\"label\",\"shape\":[" : "{\"name\":\"probabilities\",\"shape\":[");
    put_u64(body, q->rows);
    if (output == PROBABILITIES) {
        put_char(body, ',');
        put_u64(body, CLASSES);
    }
    put_text(body, output == LABEL ? "],\"datatype\":\"INT64\"," : "],\"datatype\":\"FP32\",");
    if (q->binary[output]) {
        put_text(body, "\"parameters\":{\"binary_data_size\":");
        put_u64(body, bytes_of(output, q->rows));
        put_text(body, "}}");
        return;
    }
    put_text(body, "\"data\":[");
    values_write(output, q->rows, body);
    put_text(body, "]}");
}

void v2_write(const inference *q, writer *body, service_answer *answer) {
    bool any = false;
    put_text(body, "{\"model_name\":");
    put_slice(body, data_loop_json);
    put_text(body, ",\"model_version\":\"");
    put_slice(body, data_version);
    put_char(body, '"');
    if (q->id.bytes) {
        put_text(body, ",\"id\":");
        put_slice(body, q->id);
    }
    put_text(body, ",\"outputs\":[");
    for (uint32_t i = 0; i < q->count; i++) {
        if (i)
            put_char(body, ',');
        output_write(q, q->wanted[i], body);
        any |= q->binary[q->wanted[i]];
    }
    put_text(body, "]}");
    if (!any)
        return;
    answer->json_bytes = (int64_t)written(body).bytes;
    answer->content_type = "application/octet-stream";
    for (uint32_t i = 0; i < q->count; i++)
        if (q->binary[q->wanted[i]])
            put(body, q->wanted[i] == LABEL ? (const char *)batch_labels : (const char *)batch_scores, bytes_of(q->wanted[i], q->rows));
}

int infer(const service_request *request, writer *body, service_answer *answer) {
    inference q;
    int status = v2_read(request, &q);
    for (uint32_t row = 0; !status && row < q.rows; row++)
        batch_times[row] = NAN;
    status = status ? status : batch_score(q.rows);
    if (!status) {
        v2_write(&q, body, answer);
        if (!body->full)
            batch_count(q.rows, request->began_ns);
    }
    batch_release(q.rows);
    return status ? status : 200;
}
