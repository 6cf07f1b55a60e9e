/* Which path is answered by what. Every answer is JSON but for /metrics; every error is {"error": text}. */
#define _GNU_SOURCE
#include "service.h"

#include <sys/random.h>

#include "clock.h"
#include "document.h"
#include "fault.h"
#include "json.h"
#include "monitor.h"

identity who;
bool service_ready = true;

static const char json_type[] = "application/json";

void service_new_boot(void) {
    static const char digits[] = "0123456789abcdef";
    uint8_t random[6];
    while (getrandom(random, sizeof random, 0) != sizeof random)
        ;
    for (int i = 0; i < 12; i++)
        who.boot[i] = digits[random[i / 2] >> (i & 1 ? 0 : 4) & 15];
}

static int give(writer *body, slice text) {
    put_slice(body, text);
    return 200;
}

static int readiness(writer *body, bool named) {
    if (named) {
        put_text(body, "{\"name\":");
        put_slice(body, data_loop_json);
    }
    put_text(body, named ? ",\"ready\":" : "{\"ready\":");
    put_text(body, service_ready ? "true}" : "false}");
    return service_ready ? 200 : 503;
}

static int handle(route_name route, const service_request *request, writer *body, service_answer *answer) {
    switch (route) {
    case ROUTE_SCORE:
        return score(request, body);
    case ROUTE_INFER:
        return infer(request, body, answer);
    case ROUTE_WINDOW:
        return window_read(request, body);
    case ROUTE_METRICS:
        metrics_write(body);
        answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
        return 200;
    case ROUTE_V2:
        return give(body, data_server_json);
    case ROUTE_LIVE:
        return give(body, SLICE("{\"live\":true}"));
    case ROUTE_READY:
        return readiness(body, false);
    case ROUTE_MODEL_READY:
        return readiness(body, true);
    default:
        return give(body, data_model_json);
    }
}

static bool skip(slice *path, slice start) {
    if (path->bytes < start.bytes || !same((slice){path->text, start.bytes}, start))
        return false;
    *path = (slice){path->text + start.bytes, path->bytes - start.bytes};
    return true;
}

static const slice plain_paths[] = {SLICE("/metrics"),        SLICE("/score"), SLICE("/v2"), SLICE("/v2/"), SLICE("/v2/health/live"),
                                    SLICE("/v2/health/ready"), SLICE("/window")};

static route_name model_route(slice rest) {
    if (!skip(&rest, data_loop))
        return ROUTE_UNKNOWN;
    if (skip(&rest, SLICE("/versions/")) && !skip(&rest, data_version))
        return ROUTE_UNKNOWN;
    return rest.bytes == 0                     ? ROUTE_MODEL
           : same(rest, SLICE("/ready")) ? ROUTE_MODEL_READY
           : same(rest, SLICE("/infer")) ? ROUTE_INFER
                                               : ROUTE_UNKNOWN;
}

static route_name route_of(slice path) {
    static const uint8_t routes[] = {ROUTE_METRICS, ROUTE_SCORE, ROUTE_V2, ROUTE_V2, ROUTE_LIVE, ROUTE_READY, ROUTE_WINDOW};
    slice rest = path;
    if (skip(&rest, SLICE("/v2/models/")))
        return model_route(rest);
    for (uint32_t i = 0; i < sizeof routes; i++)
        if (same(path, plain_paths[i]))
            return routes[i];
    return ROUTE_UNKNOWN;
}

static int unknown(slice path) {
    slice rest = path;
    if (skip(&rest, SLICE("/v2/models/")))
        return refuse(404, "%t: no such model or version: this server has %t, version %t", path, data_loop, data_version);
    return refuse(404, "%t: no such path %n", path, path, plain_paths, (uint32_t)(sizeof plain_paths / sizeof *plain_paths));
}

static service_answer finished(route_name route, service_answer answer, writer *body) {
    if (body->full)
        answer.status = refuse(413, "answer: it is too long: ask for fewer rows at once");
    if (answer.status >= 400 && answer.status != 503) {
        *body = writer_on(body->start, (size_t)(body->end - body->start));
        put_text(body, "{\"error\":");
        put_quoted(body, fault_text());
        put_char(body, '}');
        answer.content_type = json_type;
        answer.json_bytes = -1;
    }
    metrics_count(route, answer.status);
    if (answer.status >= 400 && (route == ROUTE_SCORE || route == ROUTE_INFER))
        (answer.status < 500 ? monitor_refuse : monitor_fail)(unix_s());
    return answer;
}

service_answer service_handle(const service_request *request, writer *body) {
    service_answer answer = {200, json_type, NULL, -1};
    route_name route = route_of(request->path);
    const char *method = route == ROUTE_SCORE || route == ROUTE_INFER ? "POST" : "GET";
    if (route == ROUTE_UNKNOWN)
        answer.status = unknown(request->path);
    else if (!same(request->method, slice_of(method))) {
        answer.status = refuse(405, "%t: expected %s, got %t", request->path, method, request->method);
        answer.allow = method;
    } else
        answer.status = handle(route, request, body, &answer);
    return finished(route, answer, body);
}

service_answer service_refuse(slice path, int status, writer *body) {
    service_answer answer = {status, json_type, NULL, -1};
    return finished(route_of(path), answer, body);
}

int document_of(slice body, slice *document) {
    const char *wrong = json_check(body);
    if (wrong)
        return refuse(400, "body: expected JSON text, got %u bytes that are not: %s", (uint64_t)body.bytes, wrong);
    *document = json_trim(body);
    return json_is_object(*document) ? 0 : refuse(400, "body: expected a JSON object, got %j", *document);
}
