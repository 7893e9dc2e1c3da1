"""Packed messages: equal messages give equal bytes, and those bytes give the message back."""

from __future__ import annotations

import base64
import json
from dataclasses import fields

import numpy as np
import pytest

from shared.contract.payload import pack, payload_sha256, reply_of, text_of, unpack
from shared.contract.protocol import KINDS, PROTOCOL_VERSION, SumReply, WeightsChunk
from shared.errors import ProtocolError
from shared.signing.canonical import canonical_json, sha256_hex

REPLY = SumReply(
    plan_sha256="a" * 64,
    stage="train",
    round=3,
    site="north",
    status="measured",
    release_class="dp",
    vector_sha256="b" * 64,
    release_sha256="",
    total=np.array([0.5, -2.0], dtype="<f4"),
    ledger_head="c",
    signature="d",
)


def test_the_bytes_are_canonical_json_of_every_field_with_arrays_in_base64() -> None:
    total = {"dtype": "<f4", "data": base64.b64encode(b"\0\0\0\x3f\0\0\0\xc0").decode()}
    plain = {field.name: getattr(REPLY, field.name) for field in fields(REPLY)} | {"total": total}
    expected = canonical_json({"message": "SumReply", "version": PROTOCOL_VERSION, **plain})
    assert pack(REPLY) == expected
    # head, signature and the count of charges come after the row that carries this hash
    unsealed = plain | {"ledger_head": "", "charges": 0, "signature": ""}
    named = canonical_json({"message": "SumReply", "version": PROTOCOL_VERSION, **unsealed})
    assert payload_sha256(REPLY) == sha256_hex(named)


def test_what_was_packed_is_unpacked_bit_for_bit() -> None:
    found = unpack(pack(REPLY))
    assert isinstance(found, SumReply)
    assert (found.total.dtype, found.total.tobytes()) == (REPLY.total.dtype, REPLY.total.tobytes())
    assert pack(found) == pack(REPLY)
    chunk = WeightsChunk(plan_sha256="", file_sha256="", index=1, n_chunks=2, data=b"\xff\x00")
    assert unpack(pack(chunk)) == chunk


def test_beside_its_total_a_reply_is_text_and_comes_back_as_it_was() -> None:
    text = text_of(REPLY)
    assert set(map(type, text.values())) == {str}
    assert pack(reply_of(text, REPLY.total)) == pack(REPLY)
    for name in text:
        with pytest.raises(KeyError, match=name):
            reply_of({key: value for key, value in text.items() if key != name}, REPLY.total)


def test_an_array_is_a_copy_that_may_be_written() -> None:
    unpack(pack(REPLY)).total[0] = 1.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(version=PROTOCOL_VERSION + 1),
        lambda content: content.update(message="Greeting"),
        lambda content: content.pop("round"),
        lambda content: content.update(more=1),
        lambda content: content["total"].update(dtype="<f9"),
        lambda content: content["total"].pop("data"),
    ],
)
def test_bytes_of_another_form_are_refused(change: object) -> None:
    content = json.loads(pack(REPLY))
    change(content)  # type: ignore[operator]
    for data in (json.dumps(content).encode(), b"[]", b"{"):
        with pytest.raises(ProtocolError) as caught:
            unpack(data)
        assert caught.value.code == "protocol.unreadable-payload"


def test_every_message_can_be_named_by_its_bytes() -> None:
    assert {"SumReply", "SumRequest", "Refusal"} <= set(KINDS)
