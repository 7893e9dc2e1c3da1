"""Messages and their records: nothing is lost, nothing unexpected is taken, every field is signed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from shared.contract.protocol import (
    KINDS,
    PROTOCOL_VERSION,
    Refusal,
    SumReply,
    SumRequest,
    Wire,
    answered_sha256,
    any_from_record,
    from_record,
    request_sha256,
    signed_bytes,
    to_record,
    vector_sha256,
)
from shared.errors import ProtocolError
from shared.signing.canonical import sha256_hex

SAMPLES: dict[str, object] = {
    "str": "text",
    "int": 7,
    "bool": True,
    "bytes": b"\x00\x01",
    "Vector": np.array([1.5, -0.0, 1e-40], dtype="<f4"),
}


def sample(kind: type[Wire]) -> Wire:
    """A message of a kind with a value in every field."""
    return kind(**{field.name: SAMPLES[str(field.type)] for field in fields(kind)})


def values(message: Wire) -> dict[str, object]:
    return {
        field.name: value.tobytes() + value.dtype.str.encode()
        if isinstance(value := getattr(message, field.name), np.ndarray)
        else value
        for field in fields(message)
    }


def other(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value + np.array([0, 0, 1], dtype=value.dtype)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value + value[:1]  # type: ignore[index,operator]


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_message_comes_out_of_its_record_as_it_went_in(name: str) -> None:
    message = sample(KINDS[name])
    found = from_record(to_record(message), KINDS[name])
    assert type(found) is KINDS[name]
    assert values(found) == values(message)


@pytest.mark.parametrize("name", [n for n in sorted(KINDS) if n.endswith("Reply")])
def test_a_signature_covers_every_field_but_itself(name: str) -> None:
    message = sample(KINDS[name])
    content = signed_bytes(message)
    for field in fields(message):
        changed = replace(message, **{field.name: other(getattr(message, field.name))})
        assert (signed_bytes(changed) == content) == (field.name == "signature"), field.name


def test_shape_and_type_of_an_array_are_signed_beside_its_bytes() -> None:
    kind = KINDS["SumReply"]
    one = replace(sample(kind), total=np.zeros(2, dtype="<f4"))
    two = replace(sample(kind), total=np.zeros(1, dtype="<f8"))
    assert one.total.tobytes() == two.total.tobytes()
    assert signed_bytes(one) != signed_bytes(two)


def test_two_kinds_with_equal_fields_are_never_signed_alike() -> None:
    seen = {signed_bytes(sample(kind)) for kind in KINDS.values()}
    assert len(seen) == len(KINDS)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("f4", b"\x00\x00\x80\x3f\x00\x00\x00\x40"),
        ("f8", b"\x00\x00\x00\x00\x00\x00\xf0\x3f\x00\x00\x00\x00\x00\x00\x00\x40"),
    ],
)
def test_a_vector_is_named_by_its_little_endian_bytes(kind: str, expected: bytes) -> None:
    vector = np.array([1.0, 2.0], dtype=f"<{kind}")
    assert vector_sha256(vector) == sha256_hex(expected)
    assert vector_sha256(vector.astype(f">{kind}")) == vector_sha256(vector)
    assert vector_sha256(np.repeat(vector, 2)[::2]) == vector_sha256(vector)


def spoilt(**changes: object) -> RecordDict:
    """A refusal's record with some of its scalars changed; None takes one away."""
    content = to_record(sample(Refusal))
    scalars = dict(content["message"].items()) | changes
    content["message"] = ConfigRecord({k: v for k, v in scalars.items() if v is not None})
    return content


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": PROTOCOL_VERSION + 1}, "protocol.unknown-version"),
        ({"version": 2}, "protocol.unknown-version"),
        ({"version": str(PROTOCOL_VERSION)}, "protocol.unknown-version"),
        ({"version": None}, "protocol.malformed"),
        ({"message": "Greeting"}, "protocol.malformed"),
        ({"code": None}, "protocol.malformed"),
        ({"code": 7}, "protocol.malformed"),
        ({"more": "x"}, "protocol.malformed"),
    ],
)
def test_a_record_of_another_form_is_refused(changes: dict[str, object], code: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        any_from_record(spoilt(**changes))
    assert caught.value.code == code


def test_a_truth_is_no_number_and_a_number_no_truth() -> None:
    content = to_record(sample(KINDS["WeightsReply"]))
    for name, value in (("index", True), ("is_complete", 1)):
        scalars = dict(content["message"].items()) | {name: value}
        with pytest.raises(ProtocolError):
            any_from_record(RecordDict({"message": ConfigRecord(scalars)}))


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2), dtype="<f4"), np.zeros(2, dtype="<i4"), np.zeros((), dtype="<f4")]
)
def test_an_array_must_be_a_vector_of_floats(array: np.ndarray) -> None:
    content = to_record(sample(KINDS["SumRequest"]))
    content["arrays"] = ArrayRecord({"vector": Array(array)})
    with pytest.raises(ProtocolError) as caught:
        any_from_record(content)
    assert caught.value.code == "protocol.malformed"


def test_another_message_than_expected_is_refused() -> None:
    with pytest.raises(ProtocolError) as caught:
        from_record(to_record(sample(Refusal)), KINDS["SumReply"])
    assert caught.value.code == "protocol.wrong-message"


def test_an_empty_record_is_no_message() -> None:
    with pytest.raises(ProtocolError):
        any_from_record(RecordDict())


@pytest.mark.parametrize("name", [field.name for field in fields(SumRequest)])
def test_a_request_is_the_same_until_more_than_its_head_changes(name: str) -> None:
    request = sample(SumRequest)
    changed = replace(request, **{name: other(getattr(request, name))})
    is_head = name in ("ledger_head", "countersignature")
    assert (request_sha256(changed) == request_sha256(request)) == is_head


def test_a_reply_names_the_request_that_it_answers_under_each_lock_another() -> None:
    state = np.array([0.5, -1.0], dtype="<f4")
    about = {"plan_sha256": "1" * 64, "stage": "prospective", "round": 1, "release_sha256": "2" * 64}
    heads = {"ledger_head": "", "countersignature": ""}
    request = SumRequest(vector=state, lock_sha256="3" * 64, **about, **heads)  # type: ignore[arg-type]
    reply = SumReply(
        site="elm",
        status="measured",
        release_class="dp",
        vector_sha256=vector_sha256(state),
        total=np.zeros(1),
        ledger_head="",
        **about,  # type: ignore[arg-type]
    )
    assert answered_sha256(reply, lock_sha256="3" * 64) == request_sha256(request)
    assert answered_sha256(reply, lock_sha256="4" * 64) != request_sha256(request)


def test_a_request_of_the_second_protocol_is_refused_with_its_reason() -> None:
    content = to_record(sample(SumRequest))
    content["message"]["version"] = 2
    with pytest.raises(ProtocolError) as caught:
        any_from_record(content)
    assert caught.value.code == "protocol.unknown-version"
    assert "protocol version must be 5, not 2" in caught.value.fact
    assert caught.value.hint
