"""Native mathematics: right to the last bit or the one beside it, over every exponent, and the same bits on every processor."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from decimal import Decimal, getcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

from edgeloop_components.native import emulate, toolchain
from edgeloop_components.native.literals import DEFINITIONS
from edgeloop_components.native.math import FUNCTIONS, POLYNOMIALS

EXACT: dict[str, Callable[[Any], Any]] = {
    "el_expf": np.exp,
    "el_expm1f": np.expm1,
    "el_logf": np.log,
    "el_sigmoidf": special.expit,
    "el_tanhf": np.tanh,
    "el_softplusf": lambda x: np.logaddexp(0, x),
    "el_erff": special.erf,
    "el_roundf": np.rint,
    "el_floorf": np.floor,
    "el_ceilf": np.ceil,
}
DOUBLE = {"el_exp": np.exp, "el_log": np.log}
SPECIALS = np.array(
    [
        0.0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.1754942e-38,
        3.4028235e38, -1e30, 2**23, 2**23 - 0.5, 2**23 + 1, -(2**23) - 1, 2**24, 2**25, 1 + 2**-23, 1 - 2**-24, 88.72284,
        103.97, -103.97,
    ],
    dtype=np.float32,
)  # fmt: skip
BODY = "#include <stdint.h>\n" + DEFINITIONS + "".join(FUNCTIONS.values())


def loop(name: str, kind: str, two: bool = False) -> str:
    more, second = (f", const {kind} *restrict z", ", z[i]") if two else ("", "")
    head = f"void all_{name}(const {kind} *restrict x{more}, {kind} *restrict y, int n)"
    return f"{head};\n{head} {{ for (int i = 0; i < n; ++i) y[i] = {name}(x[i]{second}); }}\n"


LOOPS = (
    "".join(loop(name, "float") for name in EXACT)
    + "".join(loop(name, "double") for name in DOUBLE)
    + loop("el_powf", "float", two=True)
)


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """`call(name, array, ...)`: the C function on every element, from a loop that the compiler may make vectors of."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: `cc` is not on the PATH")
    folder = tmp_path_factory.mktemp("math")
    (folder / "math.c").write_text(BODY + LOOPS)
    flags = (
        "-std=c99 -O3 -ffp-contract=off -fno-math-errno -Wall -Wextra -Wshadow -Wdouble-promotion -Werror -shared -fPIC"
    )
    subprocess.run(["cc", *flags.split(), "math.c", "-o", "math.so"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "math.so"))

    def called(name: str, *arrays: Any) -> Any:
        out = np.empty_like(arrays[0])
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (*arrays, out)]
        library[f"all_{name}"](*pointers, len(out))
        return out

    return called


def floats(seed: int, count: int) -> Any:
    """Random bits, which have every exponent and sign alike, what lies near the interesting places, and special values."""
    random = np.random.default_rng(seed)
    bits = random.integers(0, 1 << 32, count, dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = np.concatenate(
        [random.uniform(-110, 110, count), random.uniform(-4.2, 4.2, count), random.uniform(0.4, 2.2, count)]
    )
    exponents = np.arange(512, dtype=np.uint32)[:, None] << 23 | np.array(
        [0, 1, 0x3FFFFF, 0x400000, 0x7FFFFE], np.uint32
    )
    return np.concatenate([bits, near.astype(np.float32), exponents.ravel().view(np.float32), SPECIALS])


def ordinal(values: Any) -> Any:
    """Neighbouring floats get neighbouring numbers; both zeros are 0."""
    bits = values.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def compare(found: Any, exact: Any, most_ulp: int) -> None:
    with np.errstate(all="ignore"):
        nearest = exact.astype(np.float32)
    nan = np.isnan(nearest)
    np.testing.assert_array_equal(np.isnan(found), nan)
    assert np.abs(ordinal(found) - ordinal(nearest))[~nan].max() <= most_ulp
    assert (np.abs(ordinal(found) - ordinal(nearest))[~nan] > 0).mean() < 1e-4, "most values are the nearest float"
    zero = ~nan & (nearest == 0)
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(nearest[zero]))


@pytest.mark.parametrize("name", EXACT)
def test_float_functions_are_within_one_ulp_over_every_exponent(name: str, call: Callable[..., Any]) -> None:
    """Special values, overflow, underflow and denormals too; where the result is exact (rounding), it is that."""
    x = floats(1, 400_000)
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.astype(np.float64))
    compare(call(name, x), exact, 0 if name in ("el_roundf", "el_floorf", "el_ceilf") else 1)


def test_powers_are_within_one_ulp_and_have_the_special_values_of_c99(call: Callable[..., Any]) -> None:
    """Random bits on both sides, exponents that hit the float range, integer exponents of negative bases, all special pairs."""
    random, a = np.random.default_rng(2), floats(2, 300_000)
    with np.errstate(all="ignore"):
        hitting = (random.uniform(-155, 130, a.size) / np.log2(np.abs(a.astype(np.float64)))).astype(np.float32)
        x, y = (part.ravel() for part in np.meshgrid(SPECIALS, SPECIALS))
        integers = random.integers(-40, 40, a.size).astype(np.float32)
        base = np.concatenate([a, np.abs(a), a, random.uniform(-9, 9, a.size).astype(np.float32), x])
        power = np.concatenate([a[::-1], hitting, hitting, integers, y]).astype(np.float32)
        exact = np.power(base.astype(np.float64), power.astype(np.float64))
    compare(call("el_powf", base, power), exact, 1)


@pytest.mark.parametrize("name", DOUBLE)
def test_double_functions_are_within_four_ulp(name: str, call: Callable[..., Any]) -> None:
    """Doubles appear in graphs of float64; special values are exact."""
    random = np.random.default_rng(3)
    bits = random.integers(0, 1 << 64, 300_000, dtype=np.uint64).view(np.float64)
    x = np.concatenate(
        [bits, random.uniform(-760, 720, 300_000), random.uniform(0.4, 2.2, 300_000), SPECIALS.astype(np.float64)]
    )
    with np.errstate(all="ignore"):
        exact = DOUBLE[name](x)
        found = call(name, x)
        usual = np.isfinite(exact)
        np.testing.assert_array_equal(found[~usual], exact[~usual])
        assert (np.abs(found - exact) / np.spacing(np.abs(exact)))[usual].max() <= 4


def chebyshev(f: Callable[[Decimal], Decimal], low: Decimal, high: Decimal, count: int) -> list[Decimal]:
    """The polynomial of `count` coefficients that meets f at the Chebyshev nodes, in u within [-1, 1]."""
    angles = [PI * (2 * j + 1) / (2 * count) for j in range(count)]
    values = [f((low + high) / 2 + (high - low) / 2 * cosine(angle)) for angle in angles]
    powers = [[Decimal(1)], [Decimal(0), Decimal(1)]]
    while len(powers) < count:
        doubled = [Decimal(0), *(2 * c for c in powers[-1])]
        powers.append([c - (powers[-2][i] if i < len(powers[-2]) else 0) for i, c in enumerate(doubled)])
    out = [Decimal(0)] * count
    for k, power in enumerate(powers):
        weight = sum(v * cosine(k * a) for v, a in zip(values, angles, strict=True)) * (2 if k else 1) / count
        out = [o + weight * (power[i] if i < len(power) else 0) for i, o in enumerate(out)]
    return out


def shifted(coefficients: list[Decimal], low: Decimal, high: Decimal) -> list[Decimal]:
    """The same polynomial in x, where u = (2 x - low - high) / (high - low)."""
    out = [Decimal(0)]
    for coefficient in reversed(coefficients):
        by_x = [Decimal(0), *(2 * c / (high - low) for c in out)]
        out = [c - (out[i] * (low + high) / (high - low) if i < len(out) else 0) for i, c in enumerate(by_x)]
        out[0] += coefficient
    return out[: len(coefficients)]


def series(term: Callable[[int], Decimal]) -> Callable[[Decimal], Decimal]:
    """The function with these Taylor coefficients."""
    coefficients = [term(k) for k in range(160)]

    def f(x: Decimal) -> Decimal:
        total = Decimal(0)
        for coefficient in reversed(coefficients):
            total = total * x + coefficient
        return total

    return f


getcontext().prec = 60
FACTORIALS = [Decimal(1)]
for n in range(1, 400):
    FACTORIALS.append(FACTORIALS[-1] * n)
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
LN2 = Decimal(2).ln()


def cosine(x: Decimal) -> Decimal:
    x = abs(x) % (2 * PI)
    return series(lambda k: (-1) ** (k // 2) / FACTORIALS[k] * (k % 2 == 0))(x)


HALF = LN2 / 2 * Decimal("1.0001")
MOST_W = ((Decimal(2).sqrt() - 1) / (Decimal(2).sqrt() + 1)) ** 2 * Decimal("1.0001")
EXPM1 = series(lambda k: 1 / FACTORIALS[k + 1])
ATANH = series(lambda k: Decimal(2) / (2 * k + 1))
DERIVATIONS: dict[str, Callable[[int], list[Decimal]]] = {
    "EXP": lambda n: shifted(chebyshev(EXPM1, -HALF, HALF, n), -HALF, HALF),
    "EXP_DOUBLE": lambda n: shifted(chebyshev(EXPM1, -HALF, HALF, n), -HALF, HALF),
    "LOG": lambda n: shifted(chebyshev(ATANH, Decimal(0), MOST_W, n), Decimal(0), MOST_W),
    "LOG1P": lambda n: shifted(chebyshev(ATANH, Decimal(0), 1 / Decimal(9), n), Decimal(0), 1 / Decimal(9)),
    "ERF": lambda n: chebyshev(
        series(lambda k: 2 / PI.sqrt() * (-1) ** k / (FACTORIALS[k] * (2 * k + 1))), Decimal(0), Decimal(16), n
    ),
}


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials_are_the_chebyshev_interpolations_that_they_claim_to_be(name: str) -> None:
    """Every coefficient, derived anew in 60 digits and rounded to double, is the one in the table."""
    table = [float.fromhex(text) for text in POLYNOMIALS[name]]
    assert [float(value) for value in DERIVATIONS[name](len(table))] == table


PROGRAM = """
#include <stdio.h>
static float x[65536], z[65536], y[65536];
static double d[65536], e[65536];
static uint64_t state = 1;
static uint32_t bits(void) { state = state * 6364136223846793005u + 1442695040888963407u; return (uint32_t)(state >> 32); }
int main(void) {
    union { float f; uint32_t u; } b;
    union { double f; uint64_t u; } c;
    for (int i = 0; i < 65536; ++i) {
        b.u = bits(); x[i] = i % 2 ? b.f : ((float)bits() * 0x1p-32f - 0.5f) * 200.0f;
        b.u = bits(); z[i] = i % 2 ? b.f : ((float)bits() * 0x1p-32f - 0.5f) * 20.0f;
        c.u = (uint64_t)bits() << 32 | bits(); d[i] = i % 2 ? c.f : (double)x[i];
    }
CALLS
    return 0;
}
"""


def program() -> str:
    """Writes what every function makes of the same 65,536 values; NaN is written as one, as emitted models do."""
    words = []
    for name in (*EXACT, "el_powf", *DOUBLE):
        given, taken = ("d, e", "e") if name in DOUBLE else ("x, z, y" if name == "el_powf" else "x, y", "y")
        words.append(f"    all_{name}({given}, 65536);")
        words.append(f"    for (int i = 0; i < 65536; ++i) if ({taken}[i] != {taken}[i]) {taken}[i] = EL_NAN;")
        words.append(f"    if (fwrite({taken}, sizeof {taken}, 1, stdout) != 1) return 1;")
    return BODY + LOOPS + PROGRAM.replace("CALLS", "\n".join(words))


@pytest.fixture(scope="module")
def digests(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], str]:
    known: dict[tuple[str, str], str] = {}

    def digest(platform: str, instruction_set: str = "") -> str:
        if (platform, instruction_set) not in known:
            try:
                emulate.emulator(platform)
            except emulate.EmulatorUnavailable as error:
                pytest.skip(f"{error}: {error.hint}")
            folder = tmp_path_factory.mktemp("program")
            (folder / "main.c").write_text(program())
            words = ["-std=c99", "main.c", "-o", "main", *toolchain.STATIC]
            toolchain.cc(words, folder=folder, platform=platform, instruction_set=instruction_set)
            made = emulate.run_program(folder / "main", [], b"", platform)
            assert len(made) == 65536 * 4 * (len(EXACT) + 1) + 65536 * 8 * len(DOUBLE)
            known[platform, instruction_set] = hashlib.sha256(made).hexdigest()
        return known[platform, instruction_set]

    return digest


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/arm/v7", "linux/riscv64"])
def test_every_processor_computes_the_same_bits(platform: str, digests: Callable[[str, str], str]) -> None:
    """65,536 values through every function: the digest of the results is that of linux/amd64."""
    pytest.importorskip("ziglang", reason="ziglang, the compiler for all platforms, is not installed")
    assert digests(platform, "") == digests("linux/amd64", "")


def test_emitted_mathematics_calls_nothing(tmp_path: Path) -> None:
    """The object file has no undefined symbol: no libm, no libc."""
    if shutil.which("cc") is None or shutil.which("nm") is None:
        pytest.skip("no C compiler or no nm on the PATH")
    (tmp_path / "math.c").write_text(BODY + LOOPS)
    flags = ["-std=c99", "-O3", "-ffp-contract=off", "-fno-math-errno"]
    subprocess.run(["cc", *flags, "-c", "math.c", "-o", "math.o"], cwd=tmp_path, check=True)
    found = subprocess.run(["nm", "-u", "math.o"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert found.split() == []
