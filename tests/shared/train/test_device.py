"""The device of a setting, and runs whose bits repeat."""

from __future__ import annotations

import pytest
import torch

from shared.errors import EngineError
from shared.train.device import choose_device, one_thread, repeatable

has_cuda = torch.cuda.is_available()


def modes() -> tuple[bool, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        not torch.backends.cudnn.benchmark,
        not torch.backends.cudnn.allow_tf32,
        not torch.backends.cuda.matmul.allow_tf32,
        not torch.utils.deterministic.fill_uninitialized_memory,
    )


def test_inside_everything_repeats_and_outside_everything_is_as_it_was() -> None:
    before = modes()
    with repeatable():
        assert modes() == (True,) * 6
        with repeatable():
            assert modes() == (True,) * 6
        assert modes() == (True,) * 6
    assert modes() == before
    assert before != (True,) * 6, "or this shows nothing"


def test_a_failure_inside_leaves_the_modes_and_threads_as_they_were() -> None:
    before, threads = modes(), torch.get_num_threads()
    with pytest.raises(ValueError, match="inside"), one_thread(), repeatable():
        raise ValueError("inside")
    assert (modes(), torch.get_num_threads()) == (before, threads)


def test_a_gpu_that_is_not_there_is_refused_and_auto_takes_what_is_there() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if has_cuda else "cpu")
    if not has_cuda:
        with pytest.raises(EngineError, match="no CUDA device is visible"):
            choose_device("cuda")
