#include "values.h"

#include <math.h>

#include "fault.h"
#include "json.h"
#include "moment.h"
#include "number.h"

#define LAST_S 253402300799.0 /* the end of the year 9999 */

enum { LONGEST_ID = 200 };

bool value_number(slice value, double *number) {
    *number = NAN;
    if (json_is_null(value))
        return true;
    if (!json_is_number(value))
        return false;
    number_read(value.text, value.text + value.bytes, number);
    return *number >= -LARGEST_FLOAT && *number <= LARGEST_FLOAT;
}

int value_time(slice value, int64_t row, double *seconds) {
    char text[64];
    bool read = false;
    if (json_is_text(value)) {
        size_t bytes = json_decode(value, text, sizeof text);
        read = bytes <= sizeof text && moment_read((slice){text, bytes}, seconds);
    } else if (json_is_number(value))
        read = number_read(value.text, value.text + value.bytes, seconds) != NULL;
    if (read && *seconds >= 0 && *seconds <= LAST_S)
        return 0;
    return refuse(400, "%wtime: expected ISO 8601 text or Unix seconds between 1970 and 9999, got %j", row, value);
}

int value_id(slice value, int64_t row) {
    size_t characters = json_is_text(value) ? json_characters(value) : 0;
    if (characters >= 1 && characters <= LONGEST_ID)
        return 0;
    return refuse(400, "%wid: expected text of 1 to 200 characters, got %j", row, value);
}
