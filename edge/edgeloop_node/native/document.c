/* Looks names up in the model's documents. */
#include "document.h"

#include <string.h>

static int compare(slice a, slice b) {
    int order = memcmp(a.text, b.text, a.bytes < b.bytes ? a.bytes : b.bytes);
    return order ? order : a.bytes < b.bytes ? -1 : a.bytes > b.bytes;
}

int32_t document_find(slice name, const slice *names, const uint32_t *order, uint32_t count) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int side = compare(name, names[order[middle]]);
        if (side == 0)
            return (int32_t)order[middle];
        if (side < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}
