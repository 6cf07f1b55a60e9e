/* Numbers against libc's strtod, printed numbers against what they were, and texts of times. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "moment.h"
#include "number.h"

static void must(bool what) {
    if (!what)
        abort();
}

static void read_back(const char *text, size_t bytes) {
    double value, again;
    const char *end = number_read(text, text + bytes, &value);
    must(end == number_skip(text, text + bytes));
    if (!end)
        return;
    char *copy = calloc((size_t)(end - text) + 1, 1);
    memcpy(copy, text, (size_t)(end - text));
    double expected = strtod(copy, NULL);
    must(memcmp(&value, &expected, sizeof value) == 0);
    free(copy);
    if (!isfinite(value))
        return;
    char printed[64];
    writer w = writer_on(printed, sizeof printed);
    put_double(&w, value);
    must(!w.full && number_read(w.start, w.at, &again) == w.at && memcmp(&again, &value, sizeof value) == 0);
    float single = (float)value;
    if (!isfinite(single))
        return;
    w = writer_on(printed, sizeof printed);
    put_float(&w, single);
    must(!w.full && number_read(w.start, w.at, &again) == w.at && (float)again == single);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size ? size : 1);
    double seconds;
    memcpy(text, data, size);
    read_back(text, size);
    moment_read((slice){text, size}, &seconds);
    if (size == sizeof(double)) {
        char printed[64];
        double value;
        memcpy(&value, data, sizeof value);
        writer w = writer_on(printed, sizeof printed);
        if (isfinite(value)) {
            put_double(&w, value);
            must(strtod((put_char(&w, 0), printed), NULL) == value);
        }
    }
    free(text);
    return 0;
}
