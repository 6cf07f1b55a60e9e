/* The golden rows, before anybody is served: a server that would answer wrongly must not answer at all. The answers were
   recorded with onnxruntime, so they hold within a limit, which kind_golden knows. Rows with infinities and answers that are
   none are no requests, so they go by the model itself. */
#include "selftest.h"

#include "batch.h"
#include "fault.h"
#include "kind.h"

bool selftest(double *worst) {
    *worst = 0;
    const char *problem = batch_setup();
    if (problem) {
        refuse(0, "%s", problem);
        return false;
    }
    for (uint32_t row = 0; row < GOLDEN_ROWS; row++) {
        batch_predict(data_golden_rows + (size_t)row * FEATURES);
        if (!kind_golden(row, worst))
            return false;
    }
    return true;
}
