"""The texts of model.h and model.c around the statements of a row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from edgeloop_components.native import math, scores
from edgeloop_components.native.literals import DEFINITIONS, string_text
from edgeloop_components.native.places import Places
from edgeloop_components.native.values import C_TYPES
from edgeloop_components.native.writer import Writer

if TYPE_CHECKING:
    from edgeloop_components.native.emit import TensorInfo

__all__ = ["header", "source"]

FUNCTIONS = {**math.FUNCTIONS, **scores.FUNCTIONS}
HEADER = """/* A model, made by edgeloop. Plain C99: it needs no library and allocates nothing; threads may share it. */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#define MODEL_INPUT_WIDTH {width}
#define MODEL_OUTPUT_COUNT {outputs}
#define MODEL_SCRATCH_BYTES {scratch}

#ifdef __cplusplus
extern "C" {{
#endif

typedef enum {{ MODEL_FLOAT32 = 1, MODEL_INT64 = 2 }} model_type;

typedef struct {{
    const char *name;
    model_type type;
    uint32_t rank;
    const int64_t *shape; /* without the batch axis; `rank` sizes */
    uint64_t width;       /* values a row */
}} model_tensor;

extern const model_tensor model_input; /* float32 */
extern const uint32_t model_output_count;
extern const model_tensor model_outputs[MODEL_OUTPUT_COUNT];
extern const uint64_t model_scratch_bytes;

/* Scores `rows` rows of x. outputs[i] gets rows * model_outputs[i].width values of its type. scratch: model_scratch_bytes
   bytes, aligned to 16 (NULL when 0). Outputs and scratch must not overlap one another or x. */
void model_predict(const float *x, uint64_t rows, void *const *outputs, void *scratch);

#ifdef __cplusplus
}}
#endif
#endif
"""
TYPES = {"float32": "MODEL_FLOAT32", "int64": "MODEL_INT64"}
CANONICAL = """for (int i = 0; i < {width}; ++i) {{
union {{ float f; uint32_t u; }} bits;
bits.f = y{place}[i];
bits.u = (bits.u & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits.u;
y{place}[i] = bits.f;
}}"""  # of integers: compilers may leave out a choice between NaN and NaN of floats


def header(width: int, outputs: int, scratch_bytes: int) -> str:
    """model.h."""
    return HEADER.format(width=width, outputs=outputs, scratch=scratch_bytes)


def source(writer: Writer, places: Places, taken: TensorInfo, given: Sequence[TensorInfo]) -> str:
    """model.c."""
    row = _row(writer, places, given)
    parts = [
        '#include "model.h"\n',
        DEFINITIONS,
        *_functions(row),
        *writer.tables,
        _descriptors(taken, given),
        row,
        _predict(given),
    ]
    return "\n".join(parts)


def _row(writer: Writer, places: Places, given: Sequence[TensorInfo]) -> str:
    outputs = "".join(f", {C_TYPES[info.kind]} *restrict y{i}" for i, info in enumerate(given))
    canonical = [
        line
        for i, t in enumerate(given)
        if t.kind == "float32"
        for line in CANONICAL.format(width=t.width, place=i).splitlines()
    ]
    lines = ["(void)x; (void)scratch;", *places.declarations, *writer.lines, *places.copies, *canonical]
    head = f"static void model_row(const float *restrict x{outputs}, void *restrict scratch) {{"
    return "\n".join(_indented([head, *lines, "}"])) + "\n"


def _indented(lines: Iterable[str]) -> Iterator[str]:
    """Lines with four spaces for each brace that is open, and for each loop before them that ends with its head."""
    depth = heads = 0
    for line in lines:
        text = line.strip()
        yield "    " * (depth + heads - text.startswith("}")) + text
        depth += text.count("{") - text.count("}")
        heads = heads + 1 if text.startswith(("for (", "if (")) and text.endswith(")") else 0


def _functions(code: str) -> list[str]:
    """The functions of FUNCTIONS that the code calls, and those that they call, in FUNCTIONS' order."""
    needed: set[str] = set()
    texts = [code]
    while texts:
        called = set(re.findall(r"\bel_\w+", texts.pop())) & FUNCTIONS.keys() - needed
        needed |= called
        texts += [FUNCTIONS[name] for name in called]
    return [text for name, text in FUNCTIONS.items() if name in needed]


def _descriptors(taken: TensorInfo, given: Sequence[TensorInfo]) -> str:
    shapes = [f"static const int64_t {_shape(i, t)[1]};" for i, t in enumerate((taken, *given)) if t.shape]
    outputs = ",\n    ".join(_descriptor(i + 1, info) for i, info in enumerate(given))
    return "\n".join(
        (
            *shapes,
            f"const model_tensor model_input = {_descriptor(0, taken)};",
            f"const uint32_t model_output_count = {len(given)};",
            f"const model_tensor model_outputs[{len(given)}] = {{\n    {outputs}}};",
            "const uint64_t model_scratch_bytes = MODEL_SCRATCH_BYTES;\n",
        )
    )


def _shape(place: int, info: TensorInfo) -> tuple[str, str]:
    """The name of the array of a tensor's sizes (0: it has none), and its definition."""
    sizes = ", ".join(map(str, info.shape))
    return (f"s{place}", f"s{place}[{len(info.shape)}] = {{{sizes}}}") if info.shape else ("0", "")


def _descriptor(place: int, info: TensorInfo) -> str:
    name, _ = _shape(place, info)
    return f"{{{string_text(info.name)}, {TYPES[info.kind]}, {len(info.shape)}, {name}, {info.width}}}"


def _predict(given: Sequence[TensorInfo]) -> str:
    outputs = "".join(f", ({C_TYPES[t.kind]} *)outputs[{i}] + row * {t.width}" for i, t in enumerate(given))
    return (
        "void model_predict(const float *x, uint64_t rows, void *const *outputs, void *scratch) {\n"
        "    for (uint64_t row = 0; row < rows; ++row)\n"
        f"        model_row(x + row * MODEL_INPUT_WIDTH{outputs}, scratch);\n"
        "}\n"
    )
