"""Canonical JSON (RFC 8785), SHA-256 and Ed25519, written anew for the verifier beside this file."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from decimal import Decimal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def need(holds, what):
    if not holds:
        raise ValueError(what)


def number(value):
    """ECMAScript's shortest form of a double (RFC 8785, 3.2.2.3)."""
    need(math.isfinite(value), "a number must be finite")
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text, point = "".join(map(str, digits)), len(digits) + exponent
    if value == 0:
        return "0"
    if 0 < point <= 21:
        text = text.ljust(point, "0")
        text = text if point == len(text) else f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        text = "0." + "0" * -point + text
    else:
        text = text[0] + ("." + text[1:] if text[1:] else "") + f"e{point - 1:+d}"
    return "-" * sign + text


def write(value):
    """Canonical JSON: names in the order of their UTF-16 code units, no spaces."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{write(name)}:{write(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    if isinstance(value, float):
        return number(value)
    need(isinstance(value, str | bool | None) or abs(value) < 2**53, "an integer beyond 2^53")
    return json.dumps(value, ensure_ascii=False)


def parse(text):
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs):
    need(len(dict(pairs)) == len(pairs), "a name stands twice")
    return dict(pairs)


def one_form(text):
    """The value of a text that must be canonical JSON as it stands."""
    value = parse(text)
    need(write(value) == text, "not canonical JSON")
    return value


def sha256(data):
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def from_base64(text):
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 has one form")
    return data


def need_signed(public_key, text, signature):
    need(re.fullmatch("[0-9a-f]{64}", public_key), "a key is 64 digits")
    need(re.fullmatch("[0-9a-f]{128}", signature), "a signature is 128 digits")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), text.encode())
    except InvalidSignature:
        raise ValueError("a signature is not of these bytes") from None
