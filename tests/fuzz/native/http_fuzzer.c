/* Bytes of a connection in pieces of any length through the HTTP reader and the service, as connection.c does it. The first
   bytes of the input decide the pieces. Every answer must be an HTTP answer whose length is right. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "batch.h"
#include "monitor.h"
#include "output.h"
#include "service.h"

enum { CUTS = 4 };

static void must(bool what) {
    if (!what)
        abort();
}

static void check_answer(const char *bytes, size_t count, bool head_only) {

    must(count > 12 && memcmp(bytes, "HTTP/1.1 ", 9) == 0);
    const char *end = memmem(bytes, count, "\r\n\r\n", 4), *length = memmem(bytes, count, "content-length: ", 16);
    must(end && length && length < end);
    size_t expected = strtoul(length + 16, NULL, 10), body = (size_t)(bytes + count - end - 4);
    must(head_only ? body == 0 : body == expected);

}

static bool answered(http_request *r, char *buffer, http_result result) {
    uint32_t from = 0, to = 0;
    bool ends = answer_write(r, buffer, result, true, false, &from, &to);
    check_answer(output + from, to - from, result == HTTP_COMPLETE && r->method_bytes == 4 && memcmp(buffer, "HEAD", 4) == 0);
    return ends;
}

static void pieces(const char *bytes, size_t count, const uint8_t *cuts) {
    http_request r;
    http_begin(&r);
    size_t room = count + 1, used = 0;
    char *buffer = NULL;
    uint32_t have = 0;
    for (int i = 0; used < count; i++) {
        size_t piece = 1 + cuts[i % CUTS] * (size_t)(i % 3 ? 1 : 4);
        piece = piece < count - used ? piece : count - used;
        char *grown = malloc(have + piece); /* of the exact size, so that a byte too far is seen */
        must(grown != NULL);
        if (have)
            memcpy(grown, buffer, have);
        memcpy(grown + have, bytes + used, piece);
        free(buffer);
        buffer = grown;
        have += (uint32_t)piece;
        used += piece;
        for (http_result result; have > 0;) {
            result = http_feed(&r, buffer, &have);
            must(have <= room && r.seen <= have);
            if (result == HTTP_MORE)
                break;
            if (answered(&r, buffer, result)) {
                free(buffer);
                return;
            }
            have -= http_bytes(&r);
            memmove(buffer, buffer + http_bytes(&r), have);
            http_begin(&r);
        }
    }
    free(buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ready;
    if (!ready) {
        must(batch_setup() == NULL);
        who = (identity){SLICE("n1"), SLICE("g1"), SLICE(""), "0123456789ab"};
        ready = true;
    }
    if (size > CUTS)
        pieces((const char *)data + CUTS, size - CUTS, data);
    return 0;
}
