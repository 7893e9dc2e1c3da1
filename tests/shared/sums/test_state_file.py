"""A state comes back bit for bit, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load, save

from shared.errors import RunError
from shared.sums.contract import State
from shared.sums.state_file import pack_state, unpack_state

STATE = State(
    np.array([1.0, -0.0, 5e-324, 1e300]),
    7,
    {"scatter": np.arange(6.0).reshape(2, 3).T, "n": np.array([3.0])},
)


def test_a_state_comes_back_bit_for_bit() -> None:
    back = unpack_state(pack_state(STATE))
    assert back.vector.tobytes() == STATE.vector.tobytes()
    assert back.sums_done == 7
    assert {name: value.tolist() for name, value in back.memory.items()} == {
        name: value.tolist() for name, value in STATE.memory.items()
    }


def test_equal_states_have_equal_bytes() -> None:
    again = State(STATE.vector.copy(), 7, dict(reversed(STATE.memory.items())))
    assert pack_state(again) == pack_state(STATE)


def test_an_empty_state_comes_back() -> None:
    back = unpack_state(pack_state(State(np.zeros(0))))
    assert (len(back.vector), back.sums_done, dict(back.memory)) == (0, 0, {})


def without(name: str) -> bytes:
    held = load(pack_state(STATE))
    del held[name]
    return bytes(save(held))


def changed(**parts: np.ndarray) -> bytes:
    return bytes(save({**load(pack_state(STATE)), **parts}))


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no state at all",
        pack_state(STATE)[:-3],
        without("vector"),
        without("sums_done"),
        without("version"),
        changed(version=np.array([2])),
        changed(vector=np.zeros((2, 2))),
        changed(vector=np.zeros(2, dtype=np.float32)),
        changed(sums_done=np.array([1, 2])),
        changed(unknown=np.zeros(1)),
    ],
)
def test_what_is_no_state_is_refused(packed: bytes) -> None:
    with pytest.raises(RunError) as error:
        unpack_state(packed)
    assert error.value.code == "run.damaged-state"
