"""ECDSA verification on P-256 with the standard library alone: keys from PEM, signatures in DER, plain integers.

Everything here is public, so nothing has to take constant time; signing needs a secret and is not done here. A verification
takes about 3 ms.

Refuses, with SignatureError: other keys and curves, points beside the curve, and signatures in another form than strict DER.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["MOST_KEY_BYTES", "PublicKey", "SignatureError", "is_pem", "public_keys", "signed_by", "verify"]

MOST_KEY_BYTES = 64 << 10  # of a text of public keys

# P-256: y^2 = x^3 - 3x + B over the integers modulo P; G = (GX, GY) has the order N (SEC 2, section 2.4.2)
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
GX = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
GY = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5
# SubjectPublicKeyInfo {ecPublicKey, prime256v1}, BIT STRING of an uncompressed point: what comes before x and y
_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)

_Point = tuple[int, int, int]  # Jacobian: (X, Y, Z) is (X/Z^2, Y/Z^3); Z = 0 is the point at infinity


class SignatureError(ValueError):
    """A key, a signature or what it signs is not as it must be; the text says what was expected and what was found."""


@dataclass(frozen=True)
class PublicKey:
    """A point of P-256."""

    x: int
    y: int

    @property
    def der(self) -> bytes:
        """SubjectPublicKeyInfo."""
        return _SPKI + self.x.to_bytes(32, "big") + self.y.to_bytes(32, "big")

    @property
    def key_id(self) -> str:
        """`sha256:<hex>` of the DER form."""
        return f"sha256:{hashlib.sha256(self.der).hexdigest()}"

    @property
    def pem(self) -> str:
        """The PEM text, as `openssl ec -pubout` and `cosign` write it."""
        body = base64.b64encode(self.der).decode()
        lines = [body[at : at + 64] for at in range(0, len(body), 64)]
        return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])


def is_pem(text: str) -> bool:
    """Whether a setting holds a key itself, and not where one lies."""
    return text.lstrip().startswith("-----BEGIN ")


def public_keys(text: str | bytes) -> tuple[PublicKey, ...]:
    """The public keys of a PEM text; several may follow one another, as when a key is replaced by another."""
    plain = text.decode("latin-1") if isinstance(text, bytes) else text
    blocks = _PEM.findall(plain) if len(plain) <= MOST_KEY_BYTES else []
    if not blocks:
        raise SignatureError(
            f"public key: expected a PEM block BEGIN PUBLIC KEY within {MOST_KEY_BYTES} bytes, found none in {len(plain)}"
        )
    return tuple(_public_key(label, body) for label, body in blocks)


def _public_key(label: str, body: str) -> PublicKey:
    if label != "PUBLIC KEY":
        raise SignatureError(f"public key: expected a PEM block PUBLIC KEY, found {label[:40]}")
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise SignatureError(f"public key: expected base64 in the PEM block, found something else ({error})") from error
    if len(der) != len(_SPKI) + 64 or not der.startswith(_SPKI):
        raise SignatureError(
            "public key: expected an EC key on P-256 with an uncompressed point (91 bytes of DER), found another "
            f"({len(der)} bytes); make one: edgeloop keys new"
        )
    key = PublicKey(int.from_bytes(der[-64:-32], "big"), int.from_bytes(der[-32:], "big"))
    if key.x >= P or key.y >= P or (key.y * key.y - key.x**3 + 3 * key.x - B) % P:
        raise SignatureError("public key: expected a point on P-256, found one beside the curve")
    return key


def verify(key: PublicKey, data: bytes, signature: bytes) -> None:
    """Checks an ECDSA signature (DER) over the SHA-256 of `data`. SignatureError when it does not hold."""
    r, s = _integers(signature)
    if not (0 < r < N and 0 < s < N):
        raise SignatureError("signature: expected numbers within the order of P-256, found others")
    e, inverse = int.from_bytes(hashlib.sha256(data).digest(), "big"), pow(s, -1, N)
    x, z = _combination(e * inverse % N, r * inverse % N, (key.x, key.y, 1))
    if z == 0 or x * pow(z, -2, P) % P % N != r:
        raise SignatureError(f"signature: it was not made over these bytes by the key {key.key_id}")


def _integers(der: bytes) -> tuple[int, int]:
    """r and s of SEQUENCE {INTEGER r, INTEGER s} in strict DER; at P-256 every length is one byte."""
    parts: list[int] = []
    rest = der[2:]
    good = 8 <= len(der) <= 72 and der[0] == 0x30 and der[1] == len(rest)
    while good and rest and len(parts) < 3:
        size = rest[1] if len(rest) > 2 else 0
        number, good = rest[2 : 2 + size], rest[0] == 0x02 and 0 < size <= min(33, len(rest) - 2)
        good = good and number[0] < 0x80 and not (size > 1 and number[0] == 0 and number[1] < 0x80)
        parts.append(int.from_bytes(number, "big"))
        rest = rest[2 + size :]
    if not good or len(parts) != 2:
        raise SignatureError(f"signature: expected ECDSA P-256 in DER form, found {len(der)} bytes of something else")
    return parts[0], parts[1]


def _double(point: _Point) -> _Point:
    x, y, z = point
    if z == 0 or y == 0:
        return 0, 1, 0
    yy, zz = y * y % P, z * z % P
    s, m = 4 * x * yy % P, 3 * (x - zz) * (x + zz) % P
    new = (m * m - 2 * s) % P
    return new, (m * (s - new) - 8 * yy * yy) % P, 2 * y * z % P


def _add(one: _Point, two: _Point) -> _Point:
    if one[2] == 0 or two[2] == 0:
        return two if one[2] == 0 else one
    (x1, y1, z1), (x2, y2, z2) = one, two
    z11, z22 = z1 * z1 % P, z2 * z2 % P
    u1, s1 = x1 * z22 % P, y1 * z2 * z22 % P
    h, r = (x2 * z11 - u1) % P, (y2 * z1 * z11 - s1) % P
    if h == 0:
        return _double(one) if r == 0 else (0, 1, 0)
    hh = h * h % P
    hhh, v = h * hh % P, u1 * hh % P
    x = (r * r - hhh - 2 * v) % P
    return x, (r * (v - x) - s1 * hhh) % P, h * z1 * z2 % P


def _combination(u: int, v: int, key: _Point) -> tuple[int, int]:
    """X and Z of uG + vQ, both scalars read bit by bit together."""
    base: _Point = (GX, GY, 1)
    table = {(1, 0): base, (0, 1): key, (1, 1): _add(base, key)}
    point: _Point = (0, 1, 0)
    for i in range(max(u.bit_length(), v.bit_length()) - 1, -1, -1):
        point = _double(point)
        bits = (u >> i & 1, v >> i & 1)
        point = _add(point, table[bits]) if bits in table else point
    return point[0], point[2]


def signed_by(keys: Iterable[PublicKey], data: bytes, signature: bytes) -> PublicKey:
    """The key of `keys` that made the signature. SignatureError when none did."""
    tried = []
    for key in keys:
        try:
            verify(key, data, signature)
        except SignatureError as error:
            tried.append(str(error))
        else:
            return key
    raise SignatureError("; ".join(tried) or "signature: no trusted key was given")
