/* JSON is read where it lies and never built. json_check proves the whole text first; everything else here walks text that
   is known to be right, and must not be used on any other. */
#ifndef EDGELOOP_JSON_H
#define EDGELOOP_JSON_H

#include "text.h"

/* NULL when `text` is one JSON value (UTF-8, no NaN, no control characters in strings, at most 64 deep); else what is wrong. */
const char *json_check(slice text);

slice json_trim(slice text);          /* without the blanks around it */
const char *json_pass(const char *at); /* the end of the value that begins here */
const char *json_blanks(const char *at);

static inline bool json_is_text(slice value) {
    return value.bytes && *value.text == '"';
}
static inline bool json_is_list(slice value) {
    return value.bytes && *value.text == '[';
}
static inline bool json_is_object(slice value) {
    return value.bytes && *value.text == '{';
}
static inline bool json_is_null(slice value) {
    return value.bytes && *value.text == 'n';
}
static inline bool json_is_boolean(slice value) {
    return value.bytes && (*value.text == 't' || *value.text == 'f');
}
static inline bool json_is_number(slice value) {
    return value.bytes && (*value.text == '-' || (*value.text >= '0' && *value.text <= '9'));
}
bool json_is_whole(slice value); /* a number without fraction and exponent, as Python's int */

/* for (json_walk walk = json_enter(value); json_next(&walk);) gives the items of a list or the members of an object. */
typedef struct {
    const char *at;
    bool object;
    slice key, value; /* the key with its quotes */
} json_walk;

json_walk json_enter(slice container);
bool json_next(json_walk *walk);
size_t json_count(slice list);

/* Strings may spell a character in several ways, so they are compared decoded. */
size_t json_decode(slice text, char *out, size_t room); /* bytes of the decoded text; more than `room` when it does not fit */
bool json_equals(slice text, slice plain);
size_t json_characters(slice text);

#endif
