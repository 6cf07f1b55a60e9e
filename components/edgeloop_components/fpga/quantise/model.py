"""What a graph computes, in the few forms that a design can be made of: columns of a row, dense layers, trees, shares.

Reading a graph (`reading`) makes these values of its tensors; quantising (`dense`, `forest`) makes a design of the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgeloop_components.native.forest import Forest

    Matrix = npt.NDArray[np.float64]

__all__ = ["Column", "Columns", "Dense", "Ensemble", "Half", "Layer", "Logs", "Shares", "Step", "Transform", "Value"]

Transform = Literal["softmax", "logistic", "identity"]
# What is done to a float32. fill: put in place of NaN; whole: cut to a whole number; is: 1 where it equals, else 0.
Step = tuple[Literal["fill", "add", "sub", "mul", "div", "whole", "is"], float]


@dataclass(frozen=True)
class Column:
    """A value of the row, and what is done to it, in float32, step by step."""

    feature: int
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Columns:
    """A tensor [N, columns] of prepared inputs."""

    items: tuple[Column, ...]


@dataclass(frozen=True)
class Layer:
    """outputs = weights @ inputs + biases. NotImplementedError where sizes do not fit or a number is not finite."""

    weights: Matrix  # [outputs, inputs]
    biases: Matrix  # [outputs]

    def __post_init__(self) -> None:
        import numpy as np

        if self.weights.ndim != 2 or not self.weights.size or self.biases.shape != self.weights.shape[:1]:
            raise NotImplementedError(f"weights {list(self.weights.shape)} with biases {list(self.biases.shape)}")
        if not np.isfinite(self.weights).all() or not np.isfinite(self.biases).all():
            raise NotImplementedError("weights or biases that are not finite")


@dataclass(frozen=True)
class Dense:
    """Layers over columns with a ReLU between them; `rectified` tells whether there is one behind the last, too."""

    columns: tuple[Column, ...]
    layers: tuple[Layer, ...]
    rectified: bool = False

    def __post_init__(self) -> None:
        given = len(self.columns)
        for layer in self.layers:
            if layer.weights.shape[1] != given:
                raise NotImplementedError(f"{given} inputs for a layer of {layer.weights.shape[1]}")
            given = len(layer.biases)

    @property
    def outputs(self) -> int:
        return len(self.layers[-1].biases)


@dataclass(frozen=True)
class Ensemble:
    """Trees over columns: sums of what their leaves pay, and of `base`."""

    columns: tuple[Column, ...]
    forest: Forest
    base: tuple[float, ...]  # [outputs]
    weight: float = 1.0  # what each leaf's pay is multiplied with

    @property
    def outputs(self) -> int:
        return len(self.base)


@dataclass(frozen=True)
class Half:
    """The probability of one of two classes, of one sum: logistic(sum), or of the other class, 1 - logistic(sum)."""

    core: Dense | Ensemble
    second: bool = True


@dataclass(frozen=True)
class Shares:
    """Probabilities [N, classes]. With one output of the core there are two classes: (1 - p, p)."""

    core: Dense | Ensemble
    transform: Transform
    floor: float = 0.0
    power: float = 1.0
    calibrated: bool = False
    normal: bool = True  # whether they add up to 1

    @property
    def classes(self) -> int:
        return max(self.core.outputs, 2)


@dataclass(frozen=True)
class Logs:
    """Logarithms of shares, times `power`."""

    shares: Shares
    power: float = 1.0


Value = Columns | Dense | Ensemble | Half | Shares | Logs
NAMES: Mapping[type, str] = {
    Columns: "inputs",
    Dense: "a dense layer",
    Ensemble: "sums of trees",
    Half: "a probability",
    Shares: "probabilities",
    Logs: "logarithms",
}
