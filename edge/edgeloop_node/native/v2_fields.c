/* Readers of the objects that inference requests are made of. */
#include "fault.h"
#include "json.h"
#include "v2.h"

/* Sorts an object's members into `places`, in the order of `keys`. */
int v2_members(slice object, const char *where, const slice *keys, uint32_t count, slice *places) {
    for (json_walk walk = json_enter(object); json_next(&walk);) {
        uint32_t i = 0;
        while (i < count && !json_equals(walk.key, keys[i]))
            i++;
        if (i == count)
            return refuse(400, "%s%k: unknown field %m", where, walk.key, walk.key, keys, count);
        places[i] = walk.value;
    }
    return 0;
}

bool v2_absent(slice value) {
    return value.bytes == 0 || json_is_null(value);
}

/* Checks an object of parameters; *value becomes that of `name`, empty when it is not there. */
int v2_parameters(slice parameters, const char *where, slice name, slice *value) {
    *value = (slice){NULL, 0};
    if (v2_absent(parameters))
        return 0;
    if (!json_is_object(parameters))
        return refuse(400, "%s: expected an object, got %j", where, parameters);
    for (json_walk walk = json_enter(parameters); json_next(&walk);) {
        if (json_is_null(walk.value) || json_is_list(walk.value) || json_is_object(walk.value))
            return refuse(400, "%s.%k: expected a string, a number or a boolean, got %j", where, walk.key, walk.value);
        if (json_equals(walk.key, name))
            *value = walk.value;
    }
    return 0;
}

int v2_wish(slice parameters, const char *where, slice name, bool *set) {
    slice value;
    if (v2_parameters(parameters, where, name, &value))
        return 400;
    if (value.bytes && !json_is_boolean(value))
        return refuse(400, "%s.%t: expected true or false, got %j", where, name, value);
    if (value.bytes)
        *set = *value.text == 't';
    return 0;
}
