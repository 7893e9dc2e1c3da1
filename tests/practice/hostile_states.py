"""States that no training reaches, and tensors that hold none, each with the code it gets."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from flwr.app import Array, ArrayRecord
from hostile_asking import Asked, Case, Prepare, train
from table_site import TableSites

from shared.contract.protocol import to_record


def state(change: Callable[[np.ndarray], np.ndarray]) -> Prepare:
    """Round 2 at a changed state."""
    return lambda sites: train(sites, vector=change(sites.weights))


def number_at(place: int, value: float) -> Prepare:
    """One number of the state exchanged."""

    def exchange(weights: np.ndarray) -> np.ndarray:
        weights[place] = value
        return weights

    return state(exchange)


def packed(
    vector: Callable[[np.ndarray], Array] | None, **more: Callable[[np.ndarray], Array]
) -> Prepare:
    """Round 2 with tensors of one's own making; None: without the vector."""

    def prepare(sites: TableSites) -> Asked:
        record, named = to_record(sites.train_request()), dict(more)
        if vector is not None:
            named["vector"] = vector
        del record["arrays"]
        if named:
            record["arrays"] = ArrayRecord({name: make(sites.weights) for name, make in named.items()})
        return record, "train"

    return prepare


def raw(data: bytes, *, stype: str = "numpy.ndarray") -> Array:
    """A tensor by the bytes of its file."""
    return Array(dtype="float32", shape=(42,), stype=stype, data=data)


def header_of(length: int) -> bytes:
    """A file of four numbers that claims to hold ``length``."""
    file = io.BytesIO()
    said = {"descr": "<f4", "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, said)
    return file.getvalue() + bytes(16)


def pickled_object() -> bytes:
    file, held = io.BytesIO(), np.empty(1, dtype=object)
    held[0] = {"a": 1}
    np.save(file, held, allow_pickle=True)
    return file.getvalue()


HOSTILE_STATES: dict[str, Case] = {
    # numbers
    "the largest number of its type": Case(number_at(0, 3.4e38), "protocol.weights-too-large"),
    "the next number after the largest": Case(
        number_at(7, np.nextafter(np.float32(1000), np.float32(2000))), "protocol.weights-too-large"
    ),
    "no number anywhere": Case(state(lambda weights: weights * np.nan), "protocol.unsound-weights"),
    "a million numbers": Case(
        state(lambda _: np.zeros(10**6, dtype=np.float32)), "protocol.wrong-shape"
    ),
    # types
    "numbers whose bytes stand the other way round": Case(
        packed(lambda weights: Array(weights.astype(">f4"))), "protocol.unsound-weights"
    ),
    "half precision": Case(
        packed(lambda weights: Array(weights.astype(np.float16))), "protocol.unsound-weights"
    ),
    "truths": Case(packed(lambda weights: Array(weights > 0)), "protocol.malformed"),
    "bytes": Case(packed(lambda weights: Array(weights.astype(np.uint8))), "protocol.malformed"),
    "words": Case(packed(lambda _: Array(np.array(["a"] * 42))), "protocol.malformed"),
    "days": Case(packed(lambda _: Array(np.zeros(42, dtype="M8[D]"))), "protocol.malformed"),
    # tensors
    "one tensor more": Case(packed(Array, more=Array), "protocol.malformed"),
    "a tensor in the place of a name": Case(packed(Array, stage=Array), "protocol.malformed"),
    "a tensor of another name": Case(packed(None, weights=Array), "protocol.malformed"),
    "no tensor": Case(packed(None), "protocol.malformed"),
    # files of a tensor
    "a pickled object": Case(packed(lambda _: raw(pickled_object())), "protocol.malformed"),
    "another kind of file": Case(
        packed(lambda _: raw(pickled_object(), stype="pickle")), "protocol.malformed"
    ),
    "no file of a tensor": Case(packed(lambda _: raw(b"garbage")), "protocol.malformed"),
    "an empty file": Case(packed(lambda _: raw(b"")), "protocol.malformed"),
    "a header of more than there is memory for": Case(
        packed(lambda _: raw(header_of(10**15))), "protocol.malformed"
    ),
    "a header of more than can be counted": Case(
        packed(lambda _: raw(header_of(2**70))), "protocol.malformed"
    ),
    "a header of more than the file holds": Case(
        packed(lambda _: raw(header_of(10**9))), "protocol.malformed"
    ),
    "a header of less than nothing": Case(packed(lambda _: raw(header_of(-1))), "protocol.malformed"),
}
