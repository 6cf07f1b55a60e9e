/* POST /v2/models/<loop>/infer: scores what v2.c read, and writes the answer, each output in JSON or behind it in binary. */
#include <math.h>

#include "batch.h"
#include "tensor.h"
#include "v2.h"

static void output_write(const inference *q, uint32_t output, writer *body) {
    const output_data *o = &data_outputs[output];
    put_text(body, "{\"name\":");
    put_slice(body, o->json);
    put_text(body, ",\"shape\":[");
    put_u64(body, q->rows);
    put_slice(body, o->sizes);
    put_text(body, o->whole ? "],\"datatype\":\"INT64\"," : "],\"datatype\":\"FP32\",");
    if (q->binary[output]) {
        put_text(body, "\"parameters\":{\"binary_data_size\":");
        put_u64(body, tensor_bytes(output, q->rows).bytes);
        put_text(body, "}}");
        return;
    }
    put_text(body, "\"data\":[");
    tensor_write(output, 0, q->rows, body);
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
            put_slice(body, tensor_bytes(q->wanted[i], q->rows));
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
