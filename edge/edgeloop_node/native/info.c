#include "info.h"

#include <unistd.h>

#include "document.h"
#include "files.h"
#include "json.h"
#include "monitor.h"
#include "output.h"

static void put_size(writer *w, const char *name, uint64_t bytes) {
    put_text(w, name);
    put_u64(w, bytes);
}

/* The members of the model's metadata that say what tensors it takes and gives. */
static void put_tensors(writer *w) {
    for (json_walk walk = json_enter(data_model_json); json_next(&walk);)
        if (json_equals(walk.key, SLICE("inputs")) || json_equals(walk.key, SLICE("outputs"))) {
            put_char(w, ',');
            put_slice(w, walk.key);
            put_char(w, ':');
            put_slice(w, walk.value);
        }
}

int info(void) {
    writer w = writer_on(output, sizeof output);
    put_text(&w, "{\"loop\":");
    put_slice(&w, data_loop_json);
    put_text(&w, ",\"version\":");
    put_slice(&w, data_version);
    put_text(&w, ",\"runtime\":\"native\",\"software\":");
    put_quoted(&w, data_software);
    put_text(&w, ",\"schema_hash\":");
    put_quoted(&w, data_schema_hash);
    put_tensors(&w);
    put_size(&w, ",\"golden_rows\":", GOLDEN_ROWS);
    put_size(&w, ",\"sizes\":{\"windows\":", sizeof(window) * (uint64_t)WINDOWS);
    put_size(&w, ",\"answer\":", sizeof output);
    put_text(&w, "}}\n");
    return file_part(1, written(&w)) ? 0 : 1;
}
