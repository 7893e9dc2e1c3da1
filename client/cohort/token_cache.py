"""Where what was computed of a cohort's films lies: one file per cohort and per way of computing it.

A file is named by the cohort's fingerprint, which covers its version and preprocessing, and by a hash
of all that decides its numbers: source and its settings, weights, shape, precision. So nothing stale is
ever met, and one changed input recomputes exactly its own block. Files are written whole or not at all,
and memory-mapped. Imports the cohort and the site, no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.cohort.folder import Cohort
from client.site.folder import Site
from shared.contract.plan import Plan
from shared.machine.files import sync_folder
from shared.signing.canonical import hash_of

Block = NDArray[np.float32]
_LENGTH = 32  # hexadecimal digits of a hash in a name
_PRECISION = "float32"


def load_block(path: Path, compute: Callable[[], Block]) -> Block:
    """The block of a file, memory-mapped; computed and written where there is none yet."""
    if not path.exists():
        _write_block(path, compute())
    block: Block = np.load(path, mmap_mode="r", allow_pickle=False)
    return block


def token_file(site: Site, plan: Plan, cohort: Cohort) -> Path:
    """Where the tokens are that a plan's encoder makes of a cohort's films, or will be."""
    encoder = str(plan.encoder_sha256)[:_LENGTH]
    name = f"{_of_cohort(cohort)}-{encoder}-{plan.settings.encoder.token_grid}.npy"
    return _folder(site) / name


def block_file(site: Site, cohort: Cohort, made_by: Mapping[str, object]) -> Path:
    """Where a source's columns of a cohort's films are, or will be.

    Args:
        site: the opened site.
        cohort: an opened cohort.
        made_by: all else that decides the numbers, as JSON values.
    """
    key = hash_of({**made_by, "precision": _PRECISION})[:_LENGTH]
    return _folder(site) / f"{_of_cohort(cohort)}-{key}.npy"


def delete_tokens(site: Site, cohort: Cohort) -> None:
    """Delete what any encoder or source has made of a cohort's films."""
    for path in _folder(site).glob(f"{_of_cohort(cohort)}-*"):
        path.unlink()


def _write_block(path: Path, block: Block) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as stream:
        np.save(stream, block)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    sync_folder(path.parent)


def _folder(site: Site) -> Path:
    return site.folder / "cache" / "tokens"


def _of_cohort(cohort: Cohort) -> str:
    return cohort.fingerprint[:_LENGTH]
