/* How alike two names are: twice the length of their longest common pieces over their lengths together (J. W. Ratcliff and
   J. A. Obershelp's pattern matching), as Python's difflib measures it. */
#include "nearest.h"

enum { LONGEST = 100, MOST = 400, LISTED = 60 };

/* The longest common piece of a and b; its length, and where it begins. */
static uint32_t piece(slice a, slice b, uint32_t *in_a, uint32_t *in_b) {
    uint8_t ends[LONGEST + 1] = {0};
    uint32_t longest = 0;
    for (uint32_t i = 0; i < a.bytes; i++)
        for (uint32_t j = (uint32_t)b.bytes; j-- > 0;) {
            ends[j + 1] = a.text[i] == b.text[j] ? ends[j] + 1 : 0;
            if (ends[j + 1] > longest || (longest && ends[j + 1] == longest && i + 1 - longest == *in_a)) {
                longest = ends[j + 1];
                *in_a = i + 1 - longest;
                *in_b = j + 1 - longest;
            }
        }
    return longest;
}

static uint32_t common(slice a, slice b) {
    uint32_t in_a = 0, in_b = 0, length = a.bytes && b.bytes ? piece(a, b, &in_a, &in_b) : 0;
    if (length == 0)
        return 0;
    slice a_after = {a.text + in_a + length, a.bytes - in_a - length}, b_after = {b.text + in_b + length, b.bytes - in_b - length};
    return length + common((slice){a.text, in_a}, (slice){b.text, in_b}) + common(a_after, b_after);
}

static slice cut(slice s) {
    return (slice){s.text, s.bytes < LONGEST ? s.bytes : LONGEST};
}

static void put_list(writer *w, const slice *known, uint32_t count) {
    put_text(w, "(known: ");
    for (uint32_t i = 0; i < count && i < LISTED; i++) {
        put_text(w, i ? ", " : "");
        put_slice(w, cut(known[i]));
    }
    put_text(w, count > LISTED ? ", ...)" : ")");
}

void put_nearest(writer *w, slice name, const slice *known, uint32_t count) {
    const slice *best = NULL;
    uint32_t best_common = 0, best_total = 1;
    name = cut(name);
    for (uint32_t i = 0; i < count && i < MOST; i++) {
        slice other = cut(known[i]);
        uint32_t total = (uint32_t)(name.bytes + other.bytes), pieces = common(other, name);
        if (4 * pieces >= total && total && pieces * best_total > best_common * total) {
            best = &known[i];
            best_common = pieces;
            best_total = total;
        }
    }
    if (!best) {
        put_list(w, known, count);
        return;
    }
    put_text(w, "(did you mean ");
    put_slice(w, cut(*best));
    put_text(w, "?)");
}
