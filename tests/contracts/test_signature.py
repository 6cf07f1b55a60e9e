"""Signatures verified with the standard library alone: published vectors, forged ones, and bytes that are anything at all."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_contracts import digest_of, ecdsa
from edgeloop_contracts.artifacts import Signature
from edgeloop_contracts.ecdsa import N, P, PublicKey, SignatureError, public_keys, signed_by, verify
from edgeloop_contracts.signature import (
    check_files,
    check_image,
    files_statement,
    image_claim,
    open_claim,
    open_statement,
    pae,
)

# RFC 6979, appendix A.2.5: the key, and r and s over SHA-256 of two texts
PRIVATE = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
KEY = PublicKey(
    0x60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6,
    0x7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299,
)
VECTORS = {
    b"sample": (
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    ),
    b"test": (
        0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
        0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
    ),
}
DIGEST, OTHER = digest_of("image"), digest_of("another image")


def der(r: int, s: int) -> bytes:
    parts = [n.to_bytes(n.bit_length() // 8 + 1, "big") for n in (r, s)]
    body = b"".join(bytes([2, len(part)]) + part for part in parts)
    return bytes([0x30, len(body)]) + body


def public(private: int) -> PublicKey:
    x, y, z = (0, 1, 0)
    for bit in f"{private:b}":
        x, y, z = ecdsa._double((x, y, z))
        if bit == "1":
            x, y, z = ecdsa._add((x, y, z), (ecdsa.GX, ecdsa.GY, 1))
    return PublicKey(x * pow(z, -2, P) % P, y * pow(z, -3, P) % P)


def sign(data: bytes, private: int = PRIVATE) -> bytes:
    """The textbook's ECDSA; its nonce is good enough for a test."""
    k = int.from_bytes(hashlib.sha256(b"k" + data).digest(), "big") % N
    r = public(k).x % N
    return der(r, pow(k, -1, N) * (int.from_bytes(hashlib.sha256(data).digest(), "big") + r * private) % N)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pem(key: PublicKey) -> str:
    return f"-----BEGIN PUBLIC KEY-----\n{text(key.der)}\n-----END PUBLIC KEY-----\n"


def signature(payload: bytes, private: int = PRIVATE) -> Signature:
    return Signature(key_id=KEY.key_id, payload=text(payload), signature=text(sign(payload, private)))


def envelope(statement: Any, private: int = PRIVATE) -> dict[str, Any]:
    payload = json.dumps(statement).encode()
    kind = "application/vnd.in-toto+json"
    return {
        "payloadType": kind,
        "payload": text(payload),
        "signatures": [{"sig": text(sign(pae(kind, payload), private))}],
    }


@pytest.mark.parametrize("message", VECTORS)
def test_published_vectors(message: bytes) -> None:
    """The signatures of RFC 6979 hold for their texts and key, for no other text, and for no other key."""
    made = der(*VECTORS[message])
    assert public(PRIVATE) == KEY
    verify(KEY, message, made)
    with pytest.raises(SignatureError, match="was not made over these bytes"):
        verify(KEY, message + b".", made)
    with pytest.raises(SignatureError, match="was not made over these bytes"):
        verify(public(7), message, made)


@given(st.binary(max_size=300), st.integers(1, N - 1), st.integers(0, 70), st.integers(1, 255))
def test_no_changed_signature_holds(data: bytes, private: int, at: int, mask: int) -> None:
    """What a key signs verifies with its public key; with any one byte of the signature changed, it does not."""
    key, made = public(private), bytearray(sign(data, private))
    verify(key, data, bytes(made))
    made[at % len(made)] ^= mask
    with pytest.raises(SignatureError):
        verify(key, data, bytes(made))


@pytest.mark.parametrize(
    "numbers", [(0, 1), (1, 0), (N, 1), (1, N), (N + 5, 7), (VECTORS[b"sample"][0] + N, VECTORS[b"sample"][1])]
)
def test_numbers_beyond_the_order_are_refused(numbers: tuple[int, int]) -> None:
    """r and s lie between 1 and N - 1: neither zero nor a number of another form gets through."""
    with pytest.raises(SignatureError, match="within the order"):
        verify(KEY, b"sample", der(*numbers))


def test_only_strict_der_is_taken() -> None:
    """Padding, long lengths, negative numbers, trailing bytes, a third number: each is refused though r and s are right."""
    r, s = VECTORS[b"sample"]
    good = der(r, s)
    numbers = good[2:]
    bad = [
        good + b"\0",
        good[:-1],
        bytes([0x30, 0x81, len(numbers)]) + numbers,
        bytes([0x30, len(numbers) + 3]) + numbers + b"\x02\x01\x01",
        bytes([0x30, len(numbers) + 1, 2, 34]) + b"\0" + numbers[2:],
        bytes([0x30, len(numbers) - 1, 2, 32]) + numbers[3:],  # without the zero, r is negative
        b"\x31" + good[1:],
        b"",
        b"\x30",
        b"\x30\x00",
    ]
    for one in bad:
        with pytest.raises(SignatureError, match="in DER form"):
            verify(KEY, b"sample", one)


def test_keys_are_read_from_pem() -> None:
    """One key or several in a text, with words around them; the key id is the digest of the DER form."""
    assert public_keys(pem(KEY)) == (KEY,)
    assert public_keys(f"the old key\n{pem(KEY)}the new one\n{pem(public(9))}".encode()) == (KEY, public(9))
    assert KEY.key_id == f"sha256:{hashlib.sha256(KEY.der).hexdigest()}"
    for private in (1, N - 1, 2):
        assert public_keys(pem(public(private))) == (public(private),)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "found none"),
        ("no key", "found none"),
        (pem(KEY) + "#" * 70_000, "found none in 7"),
        (pem(KEY).replace("PUBLIC", "PRIVATE"), "found PRIVATE KEY"),
        (pem(KEY).replace("MFk", "M*k"), "expected base64"),
        (pem(KEY).replace("MFk", "MFl"), "expected an EC key on P-256"),
        (pem(replace(KEY, y=KEY.y ^ 1)), "beside the curve"),
        (pem(PublicKey(0, 0)), "beside the curve"),
        (pem(PublicKey(P + 5, 1)), "beside the curve"),
        ("-----BEGIN PUBLIC KEY-----\n" + text(KEY.der[:-1]) + "\n-----END PUBLIC KEY-----", r"\(90 bytes\)"),
    ],
)
def test_what_is_no_key_is_refused(given: str, why: str) -> None:
    """Another kind of key, a damaged one, a point beside the curve: the error says which."""
    with pytest.raises(SignatureError, match=why):
        public_keys(given)


def test_image_signed_by_a_trusted_key() -> None:
    """Any one signature of any one trusted key is enough, so keys can be replaced one after the other."""
    claim = image_claim(DIGEST, "turbine/cabinet")
    signatures = [signature(claim, 5), signature(image_claim(OTHER, "x")), signature(claim)]
    assert check_image(DIGEST, signatures, [public(3), KEY]) == KEY


@pytest.mark.parametrize(
    ("signatures", "keys", "why"),
    [
        ([], [KEY], "it is not signed"),
        ([signature(image_claim(DIGEST, "x"))], [], "no trusted key"),
        ([signature(image_claim(DIGEST, "x"), 5)], [KEY], "was not made over these bytes"),
        ([signature(image_claim(OTHER, "x"))], [KEY], f"found one of {OTHER}"),
        ([signature(image_claim(DIGEST, "x").replace(b"container", b"contained"))], [KEY], "claim.critical.type"),
        ([signature(b"[]")], [KEY], "claim: expected a JSON object, found list"),
        ([signature(b"\xff")], [KEY], "expected JSON text"),
        ([signature(b'{"critical": 1}')], [KEY], "claim.critical: expected a JSON object"),
        ([signature(b'{"critical": {"type": "cosign container image signature"}}')], [KEY], "critical.image: expected"),
        ([Signature(key_id=KEY.key_id, payload="*", signature="")], [KEY], "payload: expected base64"),
    ],
)
def test_image_without_a_good_signature(signatures: list[Signature], keys: list[PublicKey], why: str) -> None:
    """Unsigned, signed by another key, a signature moved from another image, another kind of claim: refused, with why."""
    with pytest.raises(SignatureError, match=why):
        check_image(DIGEST, signatures, keys)


def test_statement_in_an_envelope() -> None:
    """An in-toto statement is opened by the key that signed it; its type and bytes are bound together by the signature."""
    files = {"model.onnx": DIGEST, "golden.json": OTHER}
    statement, key = open_statement(envelope(files_statement(files, {"loop": "turbine"})), [public(4), KEY])
    assert (statement["predicate"], key) == ({"loop": "turbine"}, KEY)
    assert check_files(envelope(files_statement(files, {})), files, [KEY]) == KEY
    payload = json.dumps(files_statement(files, {})).encode()
    unbound = {**envelope(files_statement(files, {})), "payload": text(payload)}
    unbound["signatures"] = [{"sig": text(sign(payload))}]  # signed without its type
    with pytest.raises(SignatureError, match="was not made over these bytes"):
        open_statement(unbound, [KEY])


def changed(path: str, value: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(files_statement({"a": DIGEST}, {})))
    where: Any = document
    *parents, last = path.split("/")
    for part in parents:
        where = where[int(part) if part.isdigit() else part]
    where[last] = value
    return document


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (changed("_type", "x"), "statement._type"),
        (changed("subject", []), "statement.subject: expected a list of at least one"),
        (changed("subject", [1]), r"statement.subject\[0\]: expected a JSON object"),
        (changed("subject/0/digest", {}), r"subject\[0\].digest.sha256: expected a digest"),
        (changed("subject/0/digest", {"sha256": 5}), r"subject\[0\].digest.sha256: expected a digest"),
        (changed("subject/0/name", ["x"]), r"subject\[0\].name: expected a text"),
        (changed("predicateType", "x"), "statement.predicateType"),
        (changed("subject/0/name", "b"), "a: expected no such file, as it was signed, found sha256"),
        (files_statement({"a": OTHER}, {}), f"a: expected {OTHER}, as it was signed, found {DIGEST}"),
        (files_statement({"a": DIGEST, "b": DIGEST}, {}), "b: expected sha256:.* found no such file"),
        (["x"], "statement: expected a JSON object"),
    ],
)
def test_statement_that_says_something_else(statement: Any, why: str) -> None:
    """A well signed statement of another form, or about other files, is refused with the place in it."""
    with pytest.raises(SignatureError, match=why):
        check_files(envelope(statement), {"a": DIGEST}, [KEY])


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"payloadType": "text/plain"}, "envelope.payloadType"),
        ({"payload": 5}, "envelope.payload: expected base64"),
        ({"signatures": []}, "list of 1 to 16"),
        ({"signatures": [{"sig": "AA=="}] * 17}, "list of 1 to 16"),
        ({"signatures": [5]}, r"signatures\[0\]: expected a JSON object"),
        ({"signatures": [{"sig": "AA=="}]}, "in DER form"),
    ],
)
def test_envelope_of_another_form(broken: dict[str, Any], why: str) -> None:
    """An envelope is refused with the name of the field that is wrong."""
    with pytest.raises(SignatureError, match=why):
        open_statement({**envelope(files_statement({"a": DIGEST}, {})), **broken}, [KEY])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([DIGEST, "application/vnd.in-toto+json"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["payload", "sig", "signatures", "x"]), inner),
    max_leaves=12,
)


@given(st.binary(max_size=200), st.binary(max_size=80), JSON)
def test_only_named_errors_come_out(data: bytes, made: bytes, document: Any) -> None:
    """Whatever bytes come in as key, signature, claim or envelope: SignatureError, nothing else."""
    body = base64.b64encode(data).decode()
    block = f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----"
    tries = [
        lambda: public_keys(data),
        lambda: public_keys(block),
        lambda: public_keys("-----BEGIN PUBLIC KEY-----\n" + data.decode("latin-1") + "\n-----END PUBLIC KEY-----"),
        lambda: verify(KEY, data, made),
        lambda: signed_by([KEY], data, b"0" + made),
        lambda: open_claim(data, made, [KEY]),
        lambda: open_claim(data, sign(data), [KEY]),
        lambda: open_statement(document, [KEY]),
        lambda: check_files(envelope(document), {}, [KEY]),
        lambda: check_image(DIGEST, [Signature(key_id="", payload=body, signature=text(made))], [KEY]),
    ]
    for one in tries:
        with pytest.raises(SignatureError):
            one()
