"""``protocol.md``: what coordinator and site say to each other, from the messages themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
from reference.fields import rows_of, summary
from reference.markdown import code, page, slug, table

from client.answers import hello
from server.rounds.weights_delivery import CHUNK_BYTES
from shared.contract import payload
from shared.contract.protocol import KINDS, PROTOCOL_VERSION, Wire

_INTRODUCTION = (
    "The coordinator asks, a site answers, and acts only on a plan that a named person there approved. "
    "What a sum is: [sums](sums.md); what a stage is: [plan.json](plan.md)."
)
_FORM = (
    f"- Version {PROTOCOL_VERSION}; any other is refused.",
    "- A message is two Flower records: `message` holds `version`, `message` (its name) and every "
    "field that is no array; `arrays` holds the arrays, flat and little-endian.",
    "- A field too many, too few or of another type refuses the whole message.",
    "- A site signs its reply (Ed25519) over the canonical JSON (RFC 8785) of name, version and every "
    "field but the signature: an array as [type, shape, SHA-256 of its bytes], bytes as their SHA-256.",
    "- Outbox and ledger name a message by the SHA-256 of its packed form: canonical JSON, arrays and "
    "bytes in base64.",
)


def protocol_page() -> str:
    """The page."""
    form = ["## Form", "", *_FORM, ""]
    return page("Protocol", _INTRODUCTION, form, _overview(), _limits(), *map(_message, KINDS.values()))


def _overview() -> Iterator[str]:
    rows = [
        (
            f"[{code(name)}](#{slug(name)})",
            "coordinator → site" if _type(kind) else "site → coordinator",
            code(_type(kind)) if _type(kind) else "answer",
            f"{_fixed_bytes(kind):,}",
            " ".join(code(row.name) for row in rows_of(kind) if _is_array(row.takes)),
        )
        for name, kind in KINDS.items()
    ]
    columns = ("message", "direction", "Flower type", "fixed bytes", "and 4 or 8 bytes a number of")
    yield from ("## Messages", *table(columns, rows))
    yield "*fixed bytes*: of the packed message without numbers, pieces and names, with hashes and"
    yield "signatures of full length."


def _limits() -> Iterator[str]:
    rows = [
        ("a piece of an encoder's file, as it is sent", f"{CHUNK_BYTES:,} bytes"),
        ("the largest piece that a site keeps", f"{hello._MAX_CHUNK_BYTES:,} bytes"),
        ("most pieces of one file", f"{hello._MAX_CHUNKS:,}"),
        ("the largest encoder that a site keeps", f"{hello._MAX_ENCODER_BYTES:,} bytes"),
    ]
    yield from ("", "## Limits", *table(("of", "limit"), rows))


def _message(kind: type[Wire]) -> Iterator[str]:
    rows = [
        (
            code(row.name),
            "numbers [float32 or float64]" if _is_array(row.takes) else row.takes,
            row.meaning,
        )
        for row in rows_of(kind)
    ]
    yield from ("", f"## {kind.__name__}", "", summary(kind))
    yield from table(("field", "takes", "meaning"), rows)


def _type(kind: type[Wire]) -> str:
    """Flower's type of the message that carries a request, as its docstring begins; empty: a reply."""
    found = re.match(r"`([a-z.]+)`: ", summary(kind))
    return found[1] if found else ""


def _is_array(words: str) -> bool:
    return words == "array of numbers"


def _fixed_bytes(kind: type[Wire]) -> int:
    values = {field.name: _sample(field.name, str(field.type)) for field in fields(kind)}
    return len(payload.pack(kind(**values)))  # type: ignore[arg-type]


def _sample(name: str, declared: str) -> object:
    if declared == "Vector":
        return np.zeros(0, dtype="<f4")
    if declared == "str":
        length = 128 if "signature" in name else 64 if name.endswith(("sha256", "nonce", "head")) else 0
        return "0" * length
    return {"int": 0, "bool": True, "bytes": b""}[declared]
