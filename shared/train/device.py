"""Which device a site computes on, and how: so that the same work gives the same bits.

Owns the choice of the device and the two ways of running that everything which enters a sum is under.
Imports torch and errors.
"""

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


@contextmanager
def repeatable() -> Iterator[None]:
    """Run with kernels that give the same bits in every call, wherever a patient stands in a batch.

    On a GPU the default ones do not: convolutions add by atomics, choose their algorithm by trial, and
    round to 10 bits (TF32). Their work space must be fixed before torch starts
    (``CUBLAS_WORKSPACE_CONFIG``, set in ``shared``). cuDNN itself is off: convolutions are matrix
    products of torch's own (docs/devices.md has what that costs). On a processor this changes nothing.
    """
    mode = torch.get_deterministic_debug_mode()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    rounds_products = torch.backends.cuda.matmul.allow_tf32
    # use_deterministic_algorithms(True) is the same, and imports a compiler: 1.5 s of each process
    torch.set_deterministic_debug_mode("error")
    # Nothing here reads memory that it did not write, and filling takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(
            enabled=False, deterministic=True, benchmark=False, allow_tf32=False
        ):
            yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.allow_tf32 = rounds_products
