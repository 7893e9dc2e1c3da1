"""The device of a setting, threads, and runs whose bits repeat."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from shared.errors import EngineError
from shared.train.device import choose_device, one_thread, repeatable


@pytest.mark.parametrize(
    ("wanted", "has_cuda", "expected"),
    [("cpu", True, "cpu"), ("cpu", False, "cpu"), ("auto", True, "cuda"), ("auto", False, "cpu"),
     ("cuda", True, "cuda")],
)  # fmt: skip
def test_a_gpu_is_used_where_there_is_one_and_nobody_forbade_it(
    monkeypatch: pytest.MonkeyPatch, wanted: str, has_cuda: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert choose_device(wanted).type == expected


def test_a_gpu_that_was_asked_for_is_not_silently_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError) as caught:
        choose_device("cuda")
    assert caught.value.code == "engine.no-gpu"


def fail_within_one_thread(seen: list[int]) -> None:
    with one_thread():
        seen.append(torch.get_num_threads())
        raise KeyError


def test_threads_are_given_back_even_after_a_failure() -> None:
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError):
            fail_within_one_thread(seen)
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def modes() -> tuple[bool, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        not torch.backends.cudnn.benchmark,
        not torch.backends.cudnn.allow_tf32,
        not torch.backends.cuda.matmul.allow_tf32,
        not torch.utils.deterministic.fill_uninitialized_memory,
    )


@pytest.fixture
def rounded_products() -> Iterator[None]:
    """A program around this one that lets products round to 10 bits; torch by itself does not."""
    matmul = torch.backends.cuda.matmul
    kept = matmul.allow_tf32
    matmul.allow_tf32 = True
    yield
    matmul.allow_tf32 = kept


@pytest.mark.usefixtures("rounded_products")
def test_inside_everything_repeats_and_outside_everything_is_as_it_was() -> None:
    before = modes()
    assert not before[4], "products are rounded"
    with repeatable():
        assert modes() == (True,) * 6
        with repeatable():
            assert modes() == (True,) * 6
        assert modes() == (True,) * 6
    assert modes() == before
    assert before != (True,) * 6, "or this shows nothing"


def test_a_process_that_trains_does_not_wait_for_the_compiler_that_nothing_uses() -> None:
    program = (
        "import sys, torch\n"
        "from shared.train.device import repeatable\n"
        "with repeatable():\n"
        "    assert torch.are_deterministic_algorithms_enabled()\n"
        "assert 'torch._inductor' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_a_failure_inside_leaves_the_modes_and_threads_as_they_were() -> None:
    before, threads = modes(), torch.get_num_threads()
    with pytest.raises(ValueError, match="inside"), one_thread(), repeatable():
        raise ValueError("inside")
    assert (modes(), torch.get_num_threads()) == (before, threads)
