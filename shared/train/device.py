"""Which device a site trains on: its own GPU where it has one. Imports torch and errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from shared.errors import EngineError


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of a setting; ``auto`` takes CUDA when it is there.

    Raises:
        EngineError: ``cuda`` was asked for and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if wanted == "cuda" and not has_cuda:
        raise EngineError(
            "no-gpu",
            "device must be auto or cpu here: no CUDA device is visible",
            hint="check `nvidia-smi` and the driver, or set device=auto",
        )
    return torch.device("cuda" if has_cuda and wanted != "cpu" else "cpu")


@contextmanager
def one_thread() -> Iterator[None]:
    """Run with one torch thread: heads of a few thousand weights only wait for a second one.

    On two shared cores a round took ten times as long with two threads as with one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
