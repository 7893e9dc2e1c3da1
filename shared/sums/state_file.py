"""A state as bytes and back, bit for bit: what is kept after every sum.

The form is safetensors (no code in it). Reading refuses what is damaged or of another form. Writing it
to a disk is its owner's business. Imports the contract and errors.
"""

from __future__ import annotations

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from shared.errors import RunError
from shared.sums.contract import State

_VERSION, _VECTOR, _SUMS_DONE, _MEMORY = "version", "vector", "sums_done", "memory."
VERSION = 1


def pack_state(state: State) -> bytes:
    """The state's bytes."""
    memory = {_MEMORY + name: np.ascontiguousarray(value) for name, value in state.memory.items()}
    counts = {
        _VERSION: np.array([VERSION], dtype=np.int64),
        _SUMS_DONE: np.array([state.sums_done], dtype=np.int64),
    }
    packed: bytes = save({**counts, _VECTOR: np.ascontiguousarray(state.vector), **memory})
    return packed


def unpack_state(packed: bytes) -> State:
    """The state that ``pack_state`` made these bytes of.

    Raises:
        RunError: ``damaged-state``: they are no state, or of another version.
    """
    try:
        held = load(packed)
    except (SafetensorError, ValueError) as error:
        raise _damaged(type(error).__name__) from None
    version = held.pop(_VERSION, np.zeros(0, dtype=np.int64))
    if version.tolist() != [VERSION]:
        raise _damaged(f"its version must be {VERSION}, not {version.tolist()}")
    vector, sums_done = held.pop(_VECTOR, None), held.pop(_SUMS_DONE, None)
    if vector is None or sums_done is None or vector.ndim != 1 or sums_done.shape != (1,):
        raise _damaged("it must hold a vector and the number of sums done")
    if any(not name.startswith(_MEMORY) for name in held):
        raise _damaged("it holds a part of an unknown name")
    if any(value.dtype != np.float64 for value in (vector, *held.values())):
        raise _damaged("its numbers must be float64")
    memory = {name.removeprefix(_MEMORY): value for name, value in held.items()}
    return State(vector=vector, sums_done=int(sums_done[0]), memory=memory)


def _damaged(fact: str) -> RunError:
    return RunError(
        "damaged-state",
        f"the state of a stage cannot be read: {fact}",
        hint="put back the run folder's copy of the last committed sum",
    )
