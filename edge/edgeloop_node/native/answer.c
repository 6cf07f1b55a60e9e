#include "answer.h"

#include <string.h>

#include "clock.h"
#include "fault.h"
#include "output.h"
#include "service.h"

enum { HEAD_ROOM = 320 };

static const struct {
    int status;
    const char *reason;
} reasons[] = {{200, "200 OK"},
               {400, "400 Bad Request"},
               {404, "404 Not Found"},
               {405, "405 Method Not Allowed"},
               {408, "408 Request Timeout"},
               {413, "413 Content Too Large"},
               {415, "415 Unsupported Media Type"},
               {417, "417 Expectation Failed"},
               {431, "431 Request Header Fields Too Large"},
               {500, "500 Internal Server Error"},
               {503, "503 Service Unavailable"}};

static const char *reason_of(int status) {
    size_t i = 0;
    while (reasons[i].status != status)
        i++;
    return reasons[i].reason;
}

static void head_write(writer *w, const service_answer *answer, uint64_t bytes, bool close) {
    put_text(w, "HTTP/1.1 ");
    put_text(w, reason_of(answer->status));
    put_text(w, "\r\ncontent-type: ");
    put_text(w, answer->content_type);
    put_text(w, "\r\ncontent-length: ");
    put_u64(w, bytes);
    if (answer->json_bytes >= 0) {
        put_text(w, "\r\ninference-header-content-length: ");
        put_i64(w, answer->json_bytes);
    }
    if (answer->allow) {
        put_text(w, "\r\nallow: ");
        put_text(w, answer->allow);
    }
    put_text(w, close ? "\r\nconnection: close\r\n\r\n" : "\r\n\r\n");
}

static writer body_at(uint32_t to) {
    return writer_on(output + to + HEAD_ROOM, sizeof output - to - HEAD_ROOM);
}

/* Puts the head before the body, without a gap between answers. */
static void put_together(const service_answer *answer, const writer *body, bool head_only, bool close, uint32_t *from, uint32_t *to) {
    char head[HEAD_ROOM];
    uint32_t bytes = (uint32_t)written(body).bytes, place = *to;
    writer w = writer_on(head, sizeof head);
    head_write(&w, answer, bytes, close);
    uint32_t head_bytes = (uint32_t)written(&w).bytes;
    bytes = head_only ? 0 : bytes;
    if (*from == *to) {
        place = *to + HEAD_ROOM - head_bytes;
        *from = place;
    } else
        memmove(output + place + head_bytes, body->start, bytes);
    memcpy(output + place, head, head_bytes);
    *to = place + head_bytes + bytes;
}

/* Twice given, it is no number, and its fault shows both. */
static slice json_length(const http_request *r, const char *bytes) {
    static char both[128];
    slice first = {bytes + r->json, r->json_bytes};
    if (!r->has_json)
        return (slice){NULL, 0};
    if (!r->json_again_bytes)
        return first;
    writer w = writer_on(both, sizeof both);
    put_slice(&w, first);
    put_text(&w, ", ");
    put(&w, bytes + r->json_again, r->json_again_bytes - 1);
    return written(&w);
}

static service_answer answer_to(const http_request *r, const char *bytes, bool is_private, writer *body, bool *close) {
    static char path[HTTP_MAX_HEAD_BYTES];
    service_request request = {.method = {bytes, r->method_bytes},
                               .body = {bytes + r->head_bytes, r->body_bytes},
                               .json_length = json_length(r, bytes),
                               .began_ns = monotonic_ns(),
                               .private_socket = is_private};
    request.path = http_path(r, bytes, path, &request.query);
    *close |= r->oversized || r->encoding_bytes || same(request.method, SLICE("HEAD"));
    if (r->oversized)
        return service_refuse(request.path, refuse(413, "body: expected at most 1048576 bytes, got more"), body);
    if (r->encoding_bytes) {
        slice encoding = {bytes + r->encoding, r->encoding_bytes};
        return service_refuse(request.path, refuse(415, "content-encoding: expected none, got \"%t\"", encoding), body);
    }
    return service_handle(&request, body);
}

static service_answer error_answer(int status, writer *body) {
    put_text(body, "{\"error\":");
    put_quoted(body, fault_text());
    put_char(body, '}');
    return (service_answer){status, "application/json", NULL, -1};
}

bool answer_write(const http_request *r, char *bytes, http_result result, bool is_private, bool last, uint32_t *from, uint32_t *to) {
    writer body = body_at(*to);
    bool close = last || r->close || result == HTTP_BAD, head_only = false;
    service_answer answer;
    if (result == HTTP_BAD)
        answer = error_answer((int)r->status, &body);
    else {
        answer = answer_to(r, bytes, is_private, &body, &close);
        head_only = same((slice){bytes, r->method_bytes}, SLICE("HEAD"));
    }
    put_together(&answer, &body, head_only, close, from, to);
    return close;
}

void answer_time_out(bool starved, uint32_t *from, uint32_t *to) {
    writer body = body_at(*to);
    int status = starved ? refuse(503, "body: other large requests were in the way for 10 s: try again")
                         : refuse(408, "the request did not come within 10 s");
    service_answer answer = error_answer(status, &body);
    put_together(&answer, &body, false, true, from, to);
}
