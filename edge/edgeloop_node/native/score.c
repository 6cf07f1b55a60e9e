/* POST /score: one row, or {"rows": [...]}. A missing feature is a missing key or null; the text of a category becomes its
   code, one that the reference does not know -1. */
#include <math.h>
#include <string.h>

#include "batch.h"
#include "fault.h"
#include "json.h"
#include "kind.h"
#include "service.h"
#include "values.h"

static const slice row_keys[] = {SLICE("features"), SLICE("id"), SLICE("time")};
static slice ids[ROWS_AT_ONCE];

static int32_t feature_of(slice key, uint32_t hint) {
    char name[LONGEST_NAME_BYTES + 1];
    if (hint < FEATURES && same(key, data_features[hint].json))
        return (int32_t)hint;
    size_t bytes = json_decode(key, name, sizeof name);
    return bytes > sizeof name ? -1 : document_find((slice){name, bytes}, data_feature_names, data_feature_order, FEATURES);
}

static int category_read(const feature_data *f, slice value, int64_t row, double *code) {
    char name[LONGEST_NAME_BYTES + 1];
    double number;
    slice text = value;
    if (json_is_text(value)) {
        size_t bytes = json_decode(value, name, sizeof name);
        text = (slice){name, bytes <= sizeof name ? bytes : 0};
        if (bytes > sizeof name) {
            *code = -1;
            return 0;
        }
    } else if (!json_is_whole(value) || !value_number(value, &number))
        return refuse(400, "%wfeatures.%t: expected the text of a category or null, got %j", row, f->name, value);
    else if (same(value, SLICE("-0"))) /* categories that are whole numbers */
        text = SLICE("0");
    *code = document_find(text, f->categories, f->category_order, f->category_count);
    return 0;
}

static int feature_read(const feature_data *f, slice value, int64_t row, double *number) {
    *number = NAN;
    if (value.bytes == 0 || json_is_null(value))
        return 0;
    if (!f->sums)
        return category_read(f, value, row, number);
    if (value_number(value, number))
        return 0;
    return refuse(400, "%wfeatures.%t: expected a number that fits into float32, or null, got %j", row, f->name, value);
}

static int features_read(slice features, int64_t row, double *values) {
    static slice found[FEATURES];
    slice extra = {NULL, 0};
    uint32_t hint = 0;
    memset(found, 0, sizeof found);
    for (json_walk walk = json_enter(features); json_next(&walk); hint++) {
        int32_t i = feature_of(walk.key, hint);
        if (i >= 0)
            found[hint = (uint32_t)i] = walk.value;
        else if (!extra.bytes)
            extra = walk.key;
    }
    for (uint32_t i = 0; i < FEATURES; i++)
        if (feature_read(&data_features[i], found[i], row, &values[i]))
            return 400;
    if (!extra.bytes)
        return 0;
    return refuse(400, "%wfeatures.%k: unknown feature %m", row, extra, extra, data_feature_names, (uint32_t)FEATURES);
}

typedef struct {
    slice features, time, id, extra;
} row_members;

static row_members members_of(slice item) {
    row_members m = {{NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    for (json_walk walk = json_enter(item); json_next(&walk);) {
        slice *place = json_equals(walk.key, row_keys[0])   ? &m.features
                       : json_equals(walk.key, row_keys[1]) ? &m.id
                       : json_equals(walk.key, row_keys[2]) ? &m.time
                                                            : NULL;
        if (place)
            *place = walk.value;
        else if (!m.extra.bytes)
            m.extra = walk.key;
    }
    return m;
}

/* Row `row` of a list, or (-1) the only one. */
static int row_read(slice item, int64_t row, uint32_t place) {
    if (!json_is_object(item))
        return refuse(400, "rows[%u]: expected an object, got %j", (uint64_t)place, item);
    row_members m = members_of(item);
    if (m.features.bytes == 0)
        return refuse(400, "%wfeatures: expected an object of feature values, got nothing", row);
    if (!json_is_object(m.features))
        return refuse(400, "%wfeatures: expected an object of feature values, got %j", row, m.features);
    if (m.extra.bytes)
        return refuse(400, "%w%k: unknown field %m", row, m.extra, m.extra, row_keys, 3u);
    ids[place] = SLICE("null");
    batch_times[place] = NAN;
    if (m.id.bytes && !json_is_null(m.id)) {
        if (value_id(m.id, row))
            return 400;
        ids[place] = m.id;
    }
    if (m.time.bytes && !json_is_null(m.time) && value_time(m.time, row, &batch_times[place]))
        return 400;
    return features_read(m.features, row, batch_values + (size_t)place * FEATURES);
}

static bool rows_of(slice document, slice *rows, slice *extra) {
    *rows = *extra = (slice){NULL, 0};
    for (json_walk walk = json_enter(document); json_next(&walk);) {
        if (json_equals(walk.key, SLICE("rows")))
            *rows = walk.value;
        else if (!extra->bytes)
            *extra = walk.key;
    }
    return rows->bytes > 0;
}

static int rows_read(slice rows, slice extra, uint32_t *count) {
    if (extra.bytes)
        return refuse(400, "%k: expected nothing beside rows: give each row its own features, time and id", extra);
    size_t given = json_is_list(rows) ? json_count(rows) : 0;
    if (given < 1 || given > MAX_ROWS)
        return refuse(400, "rows: expected a list of 1 to 1000 rows, got %j", rows);
    if (batch_room((uint32_t)given))
        return 413;
    for (json_walk walk = json_enter(rows); json_next(&walk); ++*count)
        if (row_read(walk.value, *count, *count))
            return 400;
    return 0;
}

static void row_write(uint32_t row, writer *body) {
    put_text(body, "{\"id\":");
    put_slice(body, ids[row]);
    kind_write(row, body);
    put_text(body, ",\"model\":");
    put_slice(body, data_loop_json);
    put_text(body, ",\"version\":");
    put_slice(body, data_version);
    put_char(body, '}');
}

static void rows_write(uint32_t count, writer *body) {
    put_text(body, "{\"rows\":[");
    for (uint32_t row = 0; row < count; row++) {
        if (row)
            put_char(body, ',');
        row_write(row, body);
    }
    put_text(body, "]}");
}

int score(const service_request *request, writer *body) {
    slice document, rows, extra;
    uint32_t count = 0;
    int status = document_of(request->body, &document);
    if (status)
        return status;
    bool many = rows_of(document, &rows, &extra);
    status = many ? rows_read(rows, extra, &count) : row_read(document, -1, 0);
    count = many ? count : 1;
    if (!status)
        status = batch_score(count);
    if (!status) {
        if (many)
            rows_write(count, body);
        else
            row_write(0, body);
        if (!body->full)
            batch_count(count, request->began_ns);
    }
    batch_release(count);
    return status ? status : 200;
}
