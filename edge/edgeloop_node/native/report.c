#include "report.h"

#include "number.h"
#include "service.h"

static void put_counts(writer *body, const char *name, const uint64_t *counts, uint32_t count) {
    put_text(body, name);
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            put_char(body, ',');
        put_u64(body, counts[i]);
    }
    put_char(body, ']');
}

static void put_member(writer *body, const char *name, uint64_t value) {
    put_text(body, name);
    put_u64(body, value);
}

static void feature_write(const window *w, uint32_t i, writer *body) {
    const feature_data *f = &data_features[i];
    put_slice(body, f->json);
    put_counts(body, ":{\"counts\":[", w->counts + f->first_bin, f->bins);
    put_text(body, ",\"sums\":[");
    for (uint32_t k = 0; k < f->sums; k++) {
        if (k)
            put_char(body, ',');
        put_i64(body, window_sum(w, f->first_sum + k));
    }
    put_member(body, "],\"missing\":", w->missing[i]);
    put_member(body, ",\"out_of_range\":", w->out_of_range[i]);
    if (f->sums && w->minimum[i] <= w->maximum[i]) {
        put_text(body, ",\"minimum\":");
        put_double(body, w->minimum[i]);
        put_text(body, ",\"maximum\":");
        put_double(body, w->maximum[i]);
    }
    put_char(body, '}');
}

static void put_named(writer *body, const char *name, slice value) {
    put_text(body, name);
    put_quoted(body, value);
}

static void head_write(const window *w, writer *body) {
    put_text(body, "{\"apiVersion\":\"edgeloop.dev/v1alpha1\",\"kind\":\"Report\",\"loop\":");
    put_slice(body, data_loop_json);
    put_named(body, ",\"node\":", who.node);
    put_named(body, ",\"group\":", who.group);
    put_text(body, ",\"boot\":\"");
    put_text(body, who.boot);
    if (w->reopened)
        put_member(body, ".", w->reopened);
    put_member(body, "\",\"sequence\":", w->sequence);
    put_text(body, ",\"version\":");
    put_slice(body, data_version);
    put_named(body, ",\"image\":", who.image);
    put_named(body, ",\"schema_hash\":", data_schema_hash);
    put_text(body, ",\"window_start_s\":");
    put_i64(body, w->start_s);
    put_text(body, ",\"window_end_s\":");
    put_i64(body, w->start_s + WINDOW_S);
}

void report_write(const window *w, writer *body) {
    head_write(w, body);
    put_member(body, ",\"counts\":{\"rows\":", w->rows);
    put_member(body, ",\"refused\":", w->refused);
    put_member(body, ",\"failed\":", w->failed);
    put_text(body, ",\"features\":{");
    for (uint32_t i = 0; i < FEATURES; i++) {
        if (i)
            put_char(body, ',');
        feature_write(w, i, body);
    }
    put_counts(body, "},\"classes\":[", w->classes, CLASSES);
    put_counts(body, ",\"confidence\":[", w->confidence, CONFIDENCE_BINS);
    put_counts(body, ",\"confidence_sums\":[", w->confidence_sums, CONFIDENCE_BINS);
    put_counts(body, ",\"latency\":[", w->latency, LATENCY_BINS);
    put_text(body, ",\"labelled\":0,\"correct\":0,\"quality\":{}}}");
}
