/* Bodies through the readers of /score and V2, with and without binary tensors behind. What json_check lets through must
   hold for the walkers; answers must be JSON. */
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "fault.h"
#include "json.h"
#include "monitor.h"
#include "output.h"
#include "service.h"

static void must(bool what) {
    if (!what)
        abort();
}

static void answer_to(slice path, slice body, slice length) {
    writer w = writer_on(output, sizeof output);
    service_request request = {.method = SLICE("POST"), .path = path, .body = body, .json_length = length};
    service_answer answer = service_handle(&request, &w);
    must(answer.status == 200 || answer.status == 400 || answer.status == 413);
    slice json = written(&w);
    if (answer.json_bytes >= 0)
        json.bytes = (size_t)answer.json_bytes;
    must(json_check(json) == NULL);
}

static void window_holds(void) {
    writer w = writer_on(output, sizeof output);
    service_request request = {.method = SLICE("GET"), .path = SLICE("/window"), .query = SLICE("after=0"), .private_socket = true};
    must(service_handle(&request, &w).status == 200 && json_check(written(&w)) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool ready;
    if (!ready) {
        must(batch_setup() == NULL);
        who = (identity){SLICE("n1"), SLICE("g1"), SLICE(""), "0123456789ab"};
        ready = true;
    }
    if (size < 2)
        return 0;
    char *body = malloc(size - 1); /* of the exact size, so that a byte too far is seen */
    memcpy(body, data + 1, size - 1);
    slice text = {body, size - 1};
    char number[8];
    writer length = writer_on(number, sizeof number);
    put_u64(&length, size - 1 < (size_t)(data[0] >> 1) ? size - 1 : size - 1 - (data[0] >> 1));
    answer_to(SLICE("/score"), text, (slice){NULL, 0});
    answer_to(SLICE("/v2/models/pump/infer"), text, (slice){NULL, 0});
    if (data[0] & 1)
        answer_to(SLICE("/v2/models/pump/infer"), text, written(&length));
    if (data[0] == 2 && size % 16 == 0)
        window_holds();
    free(body);
    return 0;
}
