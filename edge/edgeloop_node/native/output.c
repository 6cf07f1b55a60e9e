#include "output.h"

char output[OUTPUT_BYTES] __attribute__((aligned(4096)));
