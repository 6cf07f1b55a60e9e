"""The native server's readers and printers against Python's own: numbers, times, near names."""

from __future__ import annotations

import ctypes
import difflib
import importlib.util
import math
import shutil
import struct
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SOURCES = ("text.c", "number.c", "decimal.c", "moment.c", "nearest.c", "json.c")
DOOR = r"""
#include "json.h"
#include "moment.h"
#include "nearest.h"
#include "number.h"
static uint32_t length(writer w) { return w.full ? 0 : w.at - w.start; }
int read_number(const char *text, uint32_t bytes, double *value) {
    return number_read(text, text + bytes, value) == text + bytes;
}
int read_moment(const char *text, uint32_t bytes, double *value) { return moment_read((slice){text, bytes}, value); }
uint32_t print_float(float value, char *out) {
    writer w = writer_on(out, 64);
    put_float(&w, value);
    return length(w);
}
uint32_t print_double(double value, char *out) {
    writer w = writer_on(out, 64);
    put_double(&w, value);
    return length(w);
}
int is_json(const char *text, uint32_t bytes) { return json_check((slice){text, bytes}) == 0; }
int64_t nearest_of(double value) { return nearest_integer(value); }
uint32_t near(const char *name, const char *a, const char *b, const char *c, char *out) {
    slice known[3] = {slice_of(a), slice_of(b), slice_of(c)};
    writer w = writer_on(out, 1000);
    put_nearest(&w, slice_of(name), known, 3);
    return length(w);
}
"""
many = settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("cc") or pytest.skip("needs a C compiler: cc")
    spec = importlib.util.find_spec("edgeloop_node")
    native = Path(next(iter(spec.submodule_search_locations or ()))) / "native"
    folder = tmp_path_factory.mktemp("parts")
    (folder / "door.c").write_text(DOOR)
    files = [native / name for name in SOURCES]
    flags = ("-std=gnu11", "-O1", "-shared", "-fPIC", "-ffp-contract=off", f"-I{native}")
    subprocess.run([compiler, *flags, folder / "door.c", *files, "-o", folder / "parts.so"], check=True)
    library = ctypes.CDLL(str(folder / "parts.so"))
    library.print_float.argtypes = [ctypes.c_float, ctypes.c_char_p]
    library.print_double.argtypes = [ctypes.c_double, ctypes.c_char_p]
    library.nearest_of.argtypes, library.nearest_of.restype = [ctypes.c_double], ctypes.c_int64
    return library


def value_of(read: Callable[..., int], text: str) -> float | None:
    found, raw = ctypes.c_double(), text.encode()
    return found.value if read(raw, len(raw), ctypes.byref(found)) else None


def printed(put: Callable[..., int], value: float) -> str:
    out = ctypes.create_string_buffer(64)
    length = put(value, out)
    return out.raw[:length].decode()


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def single(text: str) -> bytes | None:
    """The float32 of a text; None when it is too large for one."""
    try:
        return struct.pack("<f", float(text))
    except OverflowError:
        return None


digits = st.text("0123456789", min_size=1, max_size=40)
spelled = st.builds(
    lambda sign, whole, part, exponent: f"{sign}{whole.lstrip('0') or '0'}{part and '.' + part}{exponent}",
    st.sampled_from(["", "-"]),
    digits,
    st.one_of(st.just(""), digits),
    st.one_of(st.just(""), st.integers(-400, 400).map("e{:+d}".format), st.integers(-30, 30).map("E{}".format)),
)


@many
@given(st.one_of(spelled, st.floats(allow_nan=False, allow_infinity=False).map(repr)))
def test_numbers_are_read_as_python_reads_them(parts: ctypes.CDLL, text: str) -> None:
    """Every spelling gives the nearest double, to the last bit."""
    found = value_of(parts.read_number, text)
    assert found is not None
    assert bits(found) == bits(float(text))


@many
@given(st.floats(1e-300, 1e300), st.integers(0, 3), st.integers(16, 60))
def test_middles_between_doubles_are_read_right(parts: ctypes.CDLL, low: float, step: int, length: int) -> None:
    """The exact middle of two doubles, and what lies a digit beside it: the hardest texts there are."""
    from decimal import Context, Decimal

    middle = (Decimal(low) + Decimal(math.nextafter(low, math.inf))) / 2
    exact = Context(prec=800).plus(middle)
    for text in (f"{exact:e}", f"{Context(prec=length).plus(exact):e}", f"{exact:e}".replace("e", f"{step}e")):
        found = value_of(parts.read_number, text)
        assert found is not None
        assert bits(found) == bits(float(text))


@pytest.mark.parametrize("text", ["", "-", "01", "1.", ".5", "1e", "1e+", "+1", "-01", "0x1", "1_0", "NaN", "Infinity"])
def test_what_is_no_number(parts: ctypes.CDLL, text: str) -> None:
    """JSON's grammar, and nothing more."""
    assert value_of(parts.read_number, text) is None


@many
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_are_printed_as_short_as_can_be(parts: ctypes.CDLL, value: float) -> None:
    """The text gives the same float back, and no text of fewer digits does."""
    text = printed(parts.print_float, value)
    assert single(text) == struct.pack("<f", value)
    shortest = next(n for n in range(1, 10) if single(f"{value:.{n - 1}e}") == struct.pack("<f", value))
    used = text.lstrip("-").split("e")[0].replace(".", "").strip("0")
    assert len(used) <= shortest


@many
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_come_back(parts: ctypes.CDLL, value: float) -> None:
    """The text of a double gives the same double back."""
    assert bits(float(printed(parts.print_double, value))) == bits(value)


@many
@given(st.floats(-(2.0**44), 2.0**44))
def test_quanta_round_as_python_does(parts: ctypes.CDLL, value: float) -> None:
    """Half goes to the even neighbour."""
    assert parts.nearest_of(value) == round(value)
    half = math.floor(value) + 0.5
    assert parts.nearest_of(half) == round(half)


moments = st.one_of(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).flatmap(  # noqa: DTZ001 (naive ones, too)
        lambda t: st.sampled_from(
            [t.isoformat(), t.isoformat(" "), t.isoformat() + "Z", t.isoformat() + "+05:30", t.isoformat() + "-0330",
             t.date().isoformat(), t.strftime("%Y%m%d"), t.strftime("%Y%m%dT%H%M%S"), t.strftime("%G-W%V-%u"),
             t.strftime("%GW%V%uT%H:%M"), t.isoformat(timespec="milliseconds") + "-01:02:03"]
        )
    ),
    st.text("0123456789-:TZW+., ", max_size=28),
)  # fmt: skip


def moment(text: str) -> float | None:
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


@many
@given(moments)
def test_times_are_read_as_python_reads_them(parts: ctypes.CDLL, text: str) -> None:
    """What Python takes gives the same second; what is not a time is refused by both, or read alike."""
    expected, found = moment(text), value_of(parts.read_moment, text)
    if expected is not None and len(text) > 7 and text[:4].isdigit():
        assert found == expected, text
    elif found is not None:
        assert expected is None or expected == found, text


@many
@given(
    st.text("abcfhlotw_", min_size=1, max_size=8),
    st.lists(st.text("abcfhlotw_", min_size=1, max_size=8), min_size=3, max_size=3),
)
def test_near_names_are_difflibs(parts: ctypes.CDLL, name: str, known: list[str]) -> None:
    """The same suggestion as difflib's, or one that is as near."""
    out = ctypes.create_string_buffer(1000)
    length = parts.near(name.encode(), *(k.encode() for k in known), out)
    text = out.raw[:length].decode()
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if not near:
        assert text == f"(known: {', '.join(known)})"
        return
    said = text.removeprefix("(did you mean ").removesuffix("?)")
    ratio = difflib.SequenceMatcher(None, said, name).ratio()
    assert said in known
    assert ratio == difflib.SequenceMatcher(None, near[0], name).ratio()


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('{"a": [1, -2.5e3, null, true, false, "\\u00e9\\ud800", {}]}', True), ("[" * 64 + "]" * 64, True),
        ("[" * 65 + "]" * 65, False), ('"\x1f"', False), ('"\\x"', False), ('"\\u12g4"', False), ("[1,]", False),
        ('{"a":1,}', False), ('{"a"}', False), ("{1:2}", False), ("[NaN]", False), ("nul", False), ("1 2", False),
        (" [ ] ", True), ('"\u20ac\U0001f600"', True), ("", False), ('"', False), ('"\\', False), ("[1 2]", False),
    ],
)  # fmt: skip
def test_json_grammar(parts: ctypes.CDLL, text: str, right: bool) -> None:
    """RFC 8259, at most 64 levels deep."""
    raw = text.encode()
    assert bool(parts.is_json(raw, len(raw))) is right


@pytest.mark.parametrize("raw", [b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"'])
def test_text_must_be_utf8(parts: ctypes.CDLL, raw: bytes) -> None:
    """Overlong forms, half characters and what lies beyond Unicode are refused."""
    assert not parts.is_json(raw, len(raw))
