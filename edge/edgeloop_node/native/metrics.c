/* GET /metrics: the counters in Prometheus text format. */
#include "monitor.h"
#include "number.h"
#include "service.h"

static const uint16_t statuses[] = {200, 400, 404, 405, 413, 415, 500, 503};
enum { STATUSES = sizeof statuses / sizeof *statuses };

static const char *const names[ROUTES] = {"infer", "live",  "metrics", "model", "model_ready",
                                          "ready", "score", "unknown", "v2",    "window"};
static uint64_t requests[ROUTES][STATUSES];

void metrics_count(uint32_t route, int status) {
    for (uint32_t i = 0; i < STATUSES; i++)
        if (statuses[i] == status)
            requests[route][i]++;
}

static void put_head(writer *body, const char *name, const char *kind, const char *help) {
    const char *const parts[] = {"# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        put_text(body, parts[i]);
}

static void put_line(writer *body, const char *name, uint64_t value) {
    put_text(body, name);
    put_u64(body, value);
    put_char(body, '\n');
}

static void info_write(writer *body) {
    const struct {
        const char *name;
        slice value;
    } labels[] = {{"{loop=\"", data_loop},         {"\",version=\"", data_version},
                  {"\",image=\"", who.image},      {"\",schema_hash=\"", data_schema_hash},
                  {"\",runtime=\"", SLICE("native")}, {"\",node=\"", who.node},
                  {"\",group=\"", who.group}};
    put_head(body, "edgeloop_model_info", "gauge", "What is loaded; always 1.");
    put_text(body, "edgeloop_model_info");
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        put_text(body, labels[i].name);
        put_escaped(body, labels[i].value);
    }
    put_text(body, "\"} 1\n");
}

static void requests_write(writer *body) {
    uint64_t failed = 0;
    put_head(body, "edgeloop_requests_total", "counter", "Answers by route and status.");
    for (uint32_t route = 0; route < ROUTES; route++)
        for (uint32_t i = 0; i < STATUSES; i++) {
            if (requests[route][i] == 0)
                continue;
            put_text(body, "edgeloop_requests_total{route=\"");
            put_text(body, names[route]);
            put_text(body, "\",status=\"");
            put_u64(body, statuses[i]);
            put_line(body, "\"} ", requests[route][i]);
            failed += statuses[i] >= 500 ? requests[route][i] : 0;
        }
    put_head(body, "edgeloop_failures_total", "counter", "Answers with 5xx.");
    put_line(body, "edgeloop_failures_total ", failed);
}

static void latency_write(writer *body) {
    static const char *const edges[LATENCY_BINS] = {"5e-05",  "0.0001", "0.0002", "0.0004", "0.0008", "0.0016", "0.0032",
                                                    "0.0064", "0.0128", "0.0256", "0.0512", "0.1024", "+Inf"};
    uint64_t seen = 0;
    put_head(body, "edgeloop_score_latency_seconds", "histogram", "Time from a request's last byte to its answer, once for each row.");
    for (uint32_t i = 0; i < LATENCY_BINS; i++) {
        seen += totals.latency[i];
        put_text(body, "edgeloop_score_latency_seconds_bucket{le=\"");
        put_text(body, edges[i]);
        put_line(body, "\"} ", seen);
    }
    put_text(body, "edgeloop_score_latency_seconds_sum ");
    put_double(body, totals.latency_sum_us / 1e6);
    put_line(body, "\nedgeloop_score_latency_seconds_count ", seen);
}

void metrics_write(writer *body) {
    info_write(body);
    requests_write(body);
    put_head(body, "edgeloop_rows_total", "counter", "Rows scored.");
    put_line(body, "edgeloop_rows_total ", totals.rows);
    put_head(body, "edgeloop_rows_uncounted_total", "counter", "Rows scored while too many windows were unread to count.");
    put_line(body, "edgeloop_rows_uncounted_total ", totals.uncounted);
    latency_write(body);
}
