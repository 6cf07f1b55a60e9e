"""A perceptron's core: the parameters of `mac_core.v` and the images of its two memories.

What depends on weights alone is in the images, so that two designs of one shape differ in `*.hex` only. Refuses widths and
shifts that the core does not know.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from edgeloop_components.fpga.rtl.frames import score_bytes
from edgeloop_components.fpga.rtl.options import RtlError
from edgeloop_components.fpga.rtl.text import CORE, bits_of, depth_of, fixed, image, index_bits, memory, width_of
from edgeloop_contracts.fpga import DenseLayer, FpgaDesign, FpgaPerceptron

__all__ = ["perceptron_files", "perceptron_memories"]

FIXED = ("mac_core.v", "lane.v", "activations.v", "requantise.v", "largest.v")
MOST_BITS = 16
LEAST_SHIFT_BITS = 4
MARGIN = 2  # bits of a sum for biases, beyond the widest sum of products


def perceptron_files(design: FpgaDesign, model: FpgaPerceptron, lanes: int) -> dict[str, str]:
    """Names and texts: core.v, its modules, its memories. RtlError."""
    _check(design, model)
    lanes = _lanes(model, lanes)
    sum_bits, shift_bits = _sum_bits(design, model), _shift_bits(model)
    words = list(_weight_words(model, lanes))
    outputs = list(_output_words(model, lanes, sum_bits, shift_bits))
    output_bits = 3 + shift_bits + sum_bits
    w_width = lanes * model.bits
    parameters = {
        "BITS": model.bits,
        "LANES": lanes,
        "SUM_BITS": sum_bits,
        "SHIFT_BITS": shift_bits,
        "WORDS": len(words),
        "OUTPUTS": len(outputs),
        "ADDRESS": _address_bits(design, model),
        "SCORES": design.scores,
        "SCORE_BYTES": score_bytes(design),
    }
    about_weights = (
        "A weight for each multiplier, the first in the lowest bits; the words in the order in which they are used."
    )
    about_outputs = (
        "A word for each output of each layer, in order: {score, layer, group, shift, bias}. The flags mark the outputs\n"
        "// of the last layer, the last output of a layer, the last of a group of lanes; the bias holds the half that rounds."
    )
    return {
        **{name: fixed(name) for name in FIXED},
        "core.v": _core(parameters),
        "weights.v": memory("weights", about_weights, w_width, len(words)),
        "weights.hex": image(words, w_width),
        "outputs.v": memory("outputs", about_outputs, output_bits, len(outputs)),
        "outputs.hex": image(outputs, output_bits),
    }


def perceptron_memories(design: FpgaDesign, model: FpgaPerceptron, lanes: int) -> dict[str, tuple[int, int]]:
    """Words and bits of each memory that `perceptron_files` puts into block RAM, by name; the identity is not among them."""
    lanes = _lanes(model, lanes)
    words = sum(-(-len(layer.weights) // lanes) * len(layer.weights[0]) for layer in model.layers)
    outputs = sum(len(layer.biases) for layer in model.layers)
    return {
        "weights": (depth_of(words), lanes * model.bits),
        "outputs": (depth_of(outputs), 3 + _shift_bits(model) + _sum_bits(design, model)),
        "activations": (2 << _address_bits(design, model), max(8, model.bits)),
    }


def _lanes(model: FpgaPerceptron, lanes: int) -> int:
    return min(lanes, max(len(layer.weights) for layer in model.layers))


def _address_bits(design: FpgaDesign, model: FpgaPerceptron) -> int:
    """Of a bank of activations, which holds inputs, a layer's outputs, or the scores' bytes."""
    widest = max(len(layer.weights) for layer in model.layers)
    return index_bits(max(design.features, widest, design.scores * score_bytes(design)))


def _check(design: FpgaDesign, model: FpgaPerceptron) -> None:
    if not 2 <= model.bits <= MOST_BITS:
        raise RtlError(f"perceptron.bits: expected 2 to {MOST_BITS}, found {model.bits}")
    if not model.layers:
        raise RtlError("perceptron.layers: expected at least one, found none")
    if design.code_bits != model.bits:
        raise RtlError(f"code_bits: expected those of the perceptron, {model.bits}, found {design.code_bits}")
    sizes = [design.features, *(len(layer.weights) for layer in model.layers)]
    for place, (layer, inputs) in enumerate(zip(model.layers, sizes[:-1], strict=True)):
        if any(len(row) != inputs for row in layer.weights) or not layer.weights:
            raise RtlError(f"perceptron.layers[{place}].weights: expected rows of {inputs}, found another length")
    if sizes[-1] != design.scores:
        raise RtlError(f"scores: expected as many as outputs of the last layer, {sizes[-1]}, found {design.scores}")


def _reach(layer: DenseLayer, most: int) -> int:
    """The largest magnitude of a sum of the layer, with the half that rounds."""
    half = (1 << layer.shift) >> 1
    return max(
        sum(map(abs, row)) * most + abs(bias) + half for row, bias in zip(layer.weights, layer.biases, strict=True)
    )


def _sum_bits(design: FpgaDesign, model: FpgaPerceptron) -> int:
    """Of the accumulators: what the shape alone can need, so that a new version has the same; more where biases need it."""
    most = [1 << (model.bits - 1), *[(1 << model.bits) - 1] * (len(model.layers) - 1)]
    needed = max(width_of(-1, _reach(layer, top)) for layer, top in zip(model.layers, most, strict=True))
    shape = max(len(layer.weights[0]) * top << (model.bits - 1) for layer, top in zip(model.layers, most, strict=True))
    return max(needed, design.score_bits, width_of(-1, shape) - 1 + MARGIN)


def _shift_bits(model: FpgaPerceptron) -> int:
    return max(LEAST_SHIFT_BITS, max(layer.shift for layer in model.layers).bit_length())


def _groups(layer: DenseLayer, lanes: int) -> Iterator[Sequence[Sequence[int]]]:
    for first in range(0, len(layer.weights), lanes):
        yield layer.weights[first : first + lanes]


def _weight_words(model: FpgaPerceptron, lanes: int) -> Iterator[int]:
    """One word for each group and input."""
    for layer in model.layers:
        for group in _groups(layer, lanes):
            for column in zip(*group, strict=True):
                yield sum(bits_of(weight, model.bits) << (lane * model.bits) for lane, weight in enumerate(column))


def _output_words(model: FpgaPerceptron, lanes: int, sum_bits: int, shift_bits: int) -> Iterator[int]:
    for layer, following in itertools.zip_longest(model.layers, model.layers[1:]):
        count = len(layer.biases)
        for place, bias in enumerate(layer.biases):
            ends = place == count - 1
            flags = (following is None) << 2 | ends << 1 | (ends or place % lanes == lanes - 1)
            word = (flags << shift_bits) | layer.shift
            yield (word << sum_bits) | bits_of(bias + ((1 << layer.shift) >> 1), sum_bits)


def _core(parameters: dict[str, int]) -> str:
    listed = ", ".join(f".{name}({value})" for name, value in parameters.items())
    return f"""// The core of this design: dense layers.
{CORE}
    mac_core #({listed}) mac_core (
        .clk(clk), .x_clear(x_clear), .x_valid(x_valid), .x_data(x_data), .start(start), .done(done),
        .y_next(y_next), .y_data(y_data)
    );
endmodule
"""
