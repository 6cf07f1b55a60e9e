"""The C functions that emitted code calls, by name: own mathematics, so that every compiler and libc gives the same bits.

Floats are widened to double, worked on with additions, multiplications and one division, and rounded once. Choices are
selections between two values that are both there, so that compilers make vectors of the loops. A function may call
those before it; which are needed is seen from the code.

The polynomials interpolate at Chebyshev nodes, which is within a factor of about two of the best of that degree. They were
derived in 60 digits from the Taylor series of the function, and rounded to double; a test derives them anew. Their relative
errors: EXP 2^-37, LOG 2^-58, LOG1P 2^-38, ERF 2^-38, EXP_DOUBLE 2^-59. As a float is rounded at 2^-24, a float function gives
the nearest float but for some values in a million, where it gives the next one: less than 0.51 ulp (tests: all
exponents, denormals too). `el_exp` and `el_log` of doubles are within 4 ulp.

How arguments get small: e^z = 2^k e^r with |r| <= ln 2 / 2; ln z = k ln 2 + 2 atanh(s), where z = 2^k m, m is within
[sqrt 1/2, sqrt 2] and s = (m - 1) / (m + 1); tanh is made from e^z - 1, which keeps its digits near 0; erf is x times a
polynomial in x^2 up to |x| = 4, from where it rounds to 1. Where a float result overflows or underflows, the double holds it, and
the last rounding makes infinity or a denormal.

Left out: trigonometric functions and remainders, which need many more digits of pi than a model should.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FUNCTIONS", "POLYNOMIALS"]

POLYNOMIALS: Mapping[str, tuple[str, ...]] = {  # lowest power first
    "EXP": (  # (e^r - 1) / r
        "0x1.fffffffff61ddp-1", "0x1.fffffffffe062p-2", "0x1.5555557e7777ep-3", "0x1.55555565c7e0ep-5",
        "0x1.1110a6173845ep-7", "0x1.6c166bde96885p-10", "0x1.a17e052cd2c8fp-13", "0x1.a136bf03ec612p-16",
    ),
    "EXP_DOUBLE": (
        "0x1.0000000000000p+0", "0x1.0000000000000p-1", "0x1.555555555555ap-3", "0x1.5555555555557p-5",
        "0x1.111111110f21ep-7", "0x1.6c16c16c15a68p-10", "0x1.a01a01b1461c5p-13", "0x1.a01a01a9e991bp-16",
        "0x1.71ddf56d8deb5p-19", "0x1.27e4d41966f2fp-22", "0x1.af632a0f7e2cep-26", "0x1.1f7f2776cfaf2p-29",
    ),
    "LOG": (  # 2 atanh(s) / s, in w = s^2
        "0x1.0000000000000p+1", "0x1.55555555555aep-1", "0x1.999999997ae5dp-2", "0x1.2492494518370p-2",
        "0x1.c71c4ffcc4142p-3", "0x1.74669a1004d6ep-3", "0x1.3999ab33ca2e3p-3", "0x1.2f4e5bc67e798p-3",
    ),
    "LOG1P": (  # the same, up to s = 1/3
        "0x1.0000000002acdp+1", "0x1.5555553081220p-1", "0x1.9999c2d1aee49p-2", "0x1.2489ae158dab2p-2",
        "0x1.c8cf1b3455de3p-3", "0x1.5eab67b0d884cp-3", "0x1.bfb4561e8dc48p-3",
    ),
    "ERF": (  # erf(x) / x, in u = x^2 / 8 - 1
        "0x1.6a040781a7a57p-2", "-0x1.69a0ccda3fddcp-3", "0x1.0dabaf0052545p-3", "-0x1.b92e95bdf6ef4p-4",
        "0x1.717efe43d8378p-4", "-0x1.3215d94772f8fp-4", "0x1.ea97b97dcfa5fp-5", "-0x1.76e853192f7d9p-5",
        "0x1.0ed6e7dbd8678p-5", "-0x1.7036105d98834p-6", "0x1.d61512004ff62p-7", "-0x1.19f8295a7ffaap-7",
        "0x1.3ecd837936f89p-8", "-0x1.526260b83154ap-9", "0x1.4d9014bdd4451p-10", "-0x1.3e0c75f8ad904p-11",
        "0x1.399c103d51c8dp-12", "-0x1.0654e39321f81p-13", "0x1.051075c9ab99ap-15", "-0x1.bcf1ce0928958p-17",
        "0x1.bc776ad31e4bep-17", "-0x1.2bcaa50b10d86p-18",
    ),
}  # fmt: skip


def _horner(name: str, variable: str, result: str = "p") -> str:
    """Statements that evaluate a polynomial in a double."""
    *rest, last = POLYNOMIALS[name]
    steps = [f"    {result} = {result} * {variable} + {coefficient};" for coefficient in reversed(rest)]
    return "\n".join([f"    double {result} = {last};", *steps]).replace("+ -", "- ")


FUNCTIONS: Mapping[str, str] = {
    "el_bits": """typedef union { double d; uint64_t u; } el_bits;
""",
    # z within [-1000, 1000]: k, and 2^k. The sum with 1.5 * 2^52 leaves k in the lowest bits.
    "el_power": """static inline double el_power(double z, double *r) {
    el_bits shifted, scale;
    shifted.d = z * 0x1.71547652b82fep+0 + 0x1.8p+52;
    *r = z - (shifted.d - 0x1.8p+52) * 0x1.62e42fefa39efp-1;
    scale.u = (shifted.u + 1023u) << 52;
    return scale.d;
}
""",
    "el_exp_kernel": f"""static inline double el_exp_kernel(double z) {{
    double r;
    const double scale = el_power(z, &r);
{_horner("EXP", "r")}
    return scale + scale * (p * r);
}}
""",
    # e^z - 1
    "el_expm1_kernel": f"""static inline double el_expm1_kernel(double z) {{
    double r;
    const double scale = el_power(z, &r);
{_horner("EXP", "r")}
    return scale * (p * r) + (scale - 1.0);
}}
""",
    # z > 0, not denormal
    "el_log_kernel": f"""static inline double el_log_kernel(double z) {{
    el_bits moved, m, k;
    moved.d = z;
    moved.u += 0x3ff0000000000000u - 0x3fe6a09e667f3bcdu;
    m.u = (moved.u & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu;
    k.u = (moved.u >> 52) | 0x4330000000000000u;
    const double s = (m.d - 1.0) / (m.d + 1.0), w = s * s, n = k.d - (0x1p+52 + 1023.0);
{_horner("LOG", "w")}
    return n * 0x1.62e42fefa3800p-1 + (s * p + n * 0x1.ef35793c76730p-45);
}}
""",
    "el_expf": """static inline float el_expf(float x) {
    const float z = x < -104.0f ? -104.0f : x;
    return (float)el_exp_kernel((double)(z > 89.0f ? 89.0f : z));
}
""",
    "el_expm1f": """static inline float el_expm1f(float x) {
    const float z = x < -104.0f ? -104.0f : x;
    const float y = (float)el_expm1_kernel((double)(z > 89.0f ? 89.0f : z));
    return x == 0.0f ? x : y;
}
""",
    "el_logf": """static inline float el_logf(float x) {
    const float y = (float)el_log_kernel((double)x);
    const float other = x == 0.0f ? -EL_INFINITY : x > 0.0f ? x : EL_NAN;
    return ((x > 0.0f) & (x < EL_INFINITY)) ? y : other;
}
""",
    # x to the power y. By C99: 1 when y is 0 or x is 1, whatever the other is; NaN for x < 0 and a y that is not an integer.
    "el_powf": """static inline float el_powf(float x, float y) {
    const float a = __builtin_fabsf(x), b = __builtin_fabsf(y), half = 0.5f * y;
    const double l = a == 0.0f ? -(double)EL_INFINITY : a < EL_INFINITY ? el_log_kernel((double)a) : (double)a;
    double z = (double)y * l;
    z = z < -104.0 ? -104.0 : z;
    z = z > 89.0 ? 89.0 : z;
    const float m = ((y == 0.0f) | ((a == 1.0f) & (y == y))) ? 1.0f : (float)el_exp_kernel(z);
    const int whole = (b >= 0x1p+23f) | ((b + 0x1p+23f) - 0x1p+23f == b);
    const int odd = whole & (b < 0x1p+24f) & ((__builtin_fabsf(half) + 0x1p+23f) - 0x1p+23f != __builtin_fabsf(half));
    const int negative = __builtin_copysignf(1.0f, x) < 0.0f;
    const float signed_m = negative & odd ? -m : m;
    const float found = ((x < 0.0f) & (a < EL_INFINITY) & !whole) ? EL_NAN : signed_m;
    return ((x == 1.0f) | (y == 0.0f)) ? 1.0f : ((x != x) | (y != y)) ? EL_NAN : found;
}
""",
    "el_sigmoidf": """static inline float el_sigmoidf(float x) {
    const float z = x < -105.0f ? -105.0f : x;
    return (float)(1.0 / (1.0 + el_exp_kernel(-(double)(z > 105.0f ? 105.0f : z))));
}
""",
    "el_tanhf": """static inline float el_tanhf(float x) {
    const float a = __builtin_fabsf(x);
    const double t = el_expm1_kernel(2.0 * (double)(a > 10.0f ? 10.0f : a));
    return __builtin_copysignf((float)(t / (t + 2.0)), x);
}
""",
    # ln(1 + e^x) = max(x, 0) + ln(1 + e), e = e^-|x|; and ln(1 + e) = 2 atanh(e / (2 + e))
    "el_softplusf": f"""static inline float el_softplusf(float x) {{
    const float a = __builtin_fabsf(x);
    const double e = el_exp_kernel(-(double)(a > 105.0f ? 105.0f : a));
    const double s = e / (2.0 + e), w = s * s;
{_horner("LOG1P", "w")}
    return (float)((x < 0.0f ? 0.0 : (double)x) + s * p);
}}
""",
    "el_erff": f"""static inline float el_erff(float x) {{
    const float a = __builtin_fabsf(x);
    const double z = (double)(a > 4.0f ? 4.0f : a), u = z * z * 0.125 - 1.0;
{_horner("ERF", "u")}
    return __builtin_copysignf((float)(z * p), x);
}}
""",
    # Nearest integer, ties to even: beyond 2^23 every float is an integer.
    "el_roundf": """static inline float el_roundf(float x) {
    const float a = __builtin_fabsf(x);
    return a < 0x1p+23f ? __builtin_copysignf((a + 0x1p+23f) - 0x1p+23f, x) : x;
}
""",
    "el_floorf": """static inline float el_floorf(float x) {
    const float n = el_roundf(x);
    return n > x ? n - 1.0f : n;
}
""",
    "el_ceilf": """static inline float el_ceilf(float x) {
    const float n = el_roundf(x);
    return __builtin_copysignf(n < x ? n + 1.0f : n, x);
}
""",
    # The scale is two factors: one alone would overflow, or round twice, at the ends.
    "el_exp": f"""static inline double el_exp(double x) {{
    const double y = x < -746.0 ? -746.0 : x, z = y > 710.0 ? 710.0 : y;
    el_bits shifted, low, high;
    shifted.d = z * 0x1.71547652b82fep+0 + 0x1.8p+52;
    const double n = shifted.d - 0x1.8p+52, r = (z - n * 0x1.62e42fefa3800p-1) - n * 0x1.ef35793c76730p-45;
    const uint64_t half = (((shifted.u + 2048u) & 4095u) >> 1) - 1024u;
    low.u = (half + 1023u) << 52;
    high.u = (shifted.u - half + 1023u) << 52;
{_horner("EXP_DOUBLE", "r")}
    return (1.0 + p * r) * low.d * high.d;
}}
""",
    "el_log": """static inline double el_log(double x) {
    const int small = x < 0x1p-1022;
    const double y = el_log_kernel(small ? x * 0x1p+54 : x) - (small ? 54.0 * 0x1.62e42fefa39efp-1 : 0.0);
    const double other = x == 0.0 ? -(double)EL_INFINITY : x > 0.0 ? x : (double)EL_NAN;
    return ((x > 0.0) & (x < (double)EL_INFINITY)) ? y : other;
}
""",
}
