/* What a model's documents say, as constants: data.c and data.h are written from reference.json, golden.json and
   version.json by edgeloop_components.native.embed. Texts named *_json are JSON already. */
#ifndef EDGELOOP_DOCUMENT_H
#define EDGELOOP_DOCUMENT_H

#include "data.h" /* FEATURES INPUT_RANK CLASSES OUTPUTS ROW_FLOATS ROW_INTEGERS BINS SUMS GOLDEN_ROWS VERSION WINDOW_S
                     LONGEST_NAME_BYTES REPORT_BYTES ROW_BYTES */
#include "model.h"
#include "text.h"

_Static_assert(FEATURES == MODEL_INPUT_WIDTH, "reference.json and the model must have the same number of features");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors travel in little-endian order");

typedef struct {
    slice name;
    slice json;              /* "name" */
    const double *edges;     /* bin i holds edges[i-1] < x <= edges[i] */
    uint32_t edge_count;
    uint32_t bins, first_bin; /* where its bins are among all bins */
    uint32_t sums, first_sum; /* 0 sums: a category */
    const slice *categories;
    const uint32_t *category_order; /* sorted by their bytes */
    uint32_t category_count;
    double quantum, minimum, maximum;
} feature_data;

/* An output of the model. Those of one type lie one after the other: `first` is the values of a row before this one's. */
typedef struct {
    slice name;
    slice json;  /* "name" */
    slice sizes; /* of a row, in JSON, each with a comma before it: empty for one value a row without an axis */
    uint32_t width, first;
    bool whole; /* int64; else float32 */
} output_data;

extern const feature_data data_features[FEATURES];
extern const slice data_feature_names[FEATURES];
extern const uint32_t data_feature_order[FEATURES]; /* sorted by their bytes */
extern const slice data_input_name;
extern const uint32_t data_input_sizes[INPUT_RANK]; /* of a row; all together FEATURES */
extern const slice data_input_shape;                /* [N, 3], as a message says it */
extern const slice data_row_shape;                  /* 3 */
extern const output_data data_outputs[OUTPUTS];
extern const double data_output_scales[OUTPUTS]; /* typical sizes, at least 1; none of a classifier */
extern const slice data_output_names;         /* label, probabilities */
extern const slice data_class_heads[CLASSES]; /* ,"label":"run","probabilities":{ */
extern const slice data_class_keys[CLASSES];  /* "run": */
extern const slice data_loop, data_loop_json, data_version, data_schema_hash, data_software;
extern const slice data_server_json;   /* the answer to GET /v2 */
extern const slice data_model_json;    /* the answer to GET /v2/models/<loop> */
extern const slice data_announce_json; /* ,"classes":[...],"features":[...] */
extern const float data_golden_rows[GOLDEN_ROWS * FEATURES];
extern const float data_golden_floats[GOLDEN_ROWS * ROW_FLOATS];       /* [rows][the outputs' values, as in output_data] */
extern const int64_t data_golden_integers[GOLDEN_ROWS * ROW_INTEGERS];

/* The place of a text among sorted ones, or -1. */
int32_t document_find(slice name, const slice *names, const uint32_t *order, uint32_t count);

#endif
