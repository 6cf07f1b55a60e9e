/* GET /window?after=S: the reports with a sequence above S, a page at a time, and whether there are more. */
#include "fault.h"
#include "http.h"
#include "report.h"
#include "service.h"

#include <string.h>

enum { MOST_REPORTS = 200, LONGEST_VALUE = 64 };

/* The last value of after=, decoded; "0" when there is none. */
static slice after_of(slice query, char room[LONGEST_VALUE]) {
    slice found = SLICE("0");
    while (query.bytes) {
        const char *mark = memchr(query.text, '&', query.bytes);
        size_t length = mark ? (size_t)(mark - query.text) : query.bytes;
        if (length > 6 && memcmp(query.text, "after=", 6) == 0)
            found = (slice){query.text + 6, length - 6};
        length += mark ? 1 : 0;
        query = (slice){query.text + length, query.bytes - length};
    }
    return found.bytes <= LONGEST_VALUE ? http_decoded(found, room, true) : found;
}

static bool sequence_of(slice text, uint64_t *sequence) {
    *sequence = 0;
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.text[i] < '0' || text.text[i] > '9')
            return false;
        *sequence = *sequence * 10 + (uint64_t)(text.text[i] - '0');
    }
    return text.bytes > 0 && text.bytes < 19;
}

static bool room_left(const writer *body, uint32_t reports) {
    size_t left = (size_t)(body->end - body->at);
    return reports < MOST_REPORTS && (reports == 0 || left > REPORT_BYTES + 1024);
}

int window_read(const service_request *request, writer *body) {
    char room[LONGEST_VALUE];
    uint64_t after, last;
    uint32_t reports = 0;
    slice text = after_of(request->query, room);
    if (!sequence_of(text, &after))
        return refuse(400, "after: expected a whole number >= 0, got \"%t\"", text);
    if (request->private_socket)
        monitor_confirm(after);
    monitor_stamp();
    last = after;
    put_text(body, "{\"reports\":[");
    const window *w = monitor_next(after);
    for (; w && room_left(body, reports); reports++, w = monitor_next(last)) {
        if (reports)
            put_char(body, ',');
        report_write(w, body);
        last = w->sequence;
    }
    put_text(body, "],\"boot\":\"");
    put_text(body, who.boot);
    put_text(body, "\",\"sequence\":");
    put_u64(body, reports ? last : monitor_sequence());
    put_text(body, w ? ",\"more\":true}" : ",\"more\":false}");
    return 200;
}
