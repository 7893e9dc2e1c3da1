"""What a model sees of a cohort's films: cached tokens of a frozen encoder, else the films themselves.

Tokens are computed once, kept at the site and memory-mapped. The cache is keyed by cohort fingerprint
and encoder hash, so that neither a new version nor new weights can meet stale tokens. Imports the
encoder and the cohort.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from client.cohort.folder import Cohort
from client.cohort.token_cache import token_file
from client.site.folder import Site
from shared.contract.plan import Plan
from shared.errors import WeightsError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.machine.files import sync_folder
from shared.train.device import choose_device, repeatable

if TYPE_CHECKING:
    from torch import Tensor

Tokens = NDArray[np.float32]
_FILMS_AT_ONCE = 256


def load_tokens(site: Site, plan: Plan, cohort: Cohort) -> Tokens:
    """Tokens of each row of ``cohort.images``, [n_films, t, c] float32.

    Raises:
        WeightsError: the plan's encoder is not cached here, or the cohort was preprocessed otherwise.
    """
    _require_preprocessing(cohort)
    path = token_file(site, plan, cohort)
    if not path.exists():
        _write_tokens(path, _encode_films(site, plan, cohort))
    tokens: Tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    return tokens


def load_films(cohort: Cohort) -> Tensor:
    """Normalised films as they are stored, [n_films, h, w] float16, memory-mapped; never written to.

    Raises:
        WeightsError: the cohort was preprocessed otherwise.
    """
    import torch

    _require_preprocessing(cohort)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(cohort.images)


def encoder_file(site: Site, plan: Plan) -> Path | None:
    """This site's copy of the plan's encoder; None where the plan names no file."""
    return site.encoder_file(plan.encoder_sha256) if plan.encoder_sha256 else None


def _require_preprocessing(cohort: Cohort) -> None:
    if cohort.preprocessing != PREPROCESSING_VERSION:
        raise WeightsError(
            "other-preprocessing",
            f"cohort {cohort.name} v{cohort.version} was preprocessed by {cohort.preprocessing}, "
            f"this code expects {PREPROCESSING_VERSION}",
            hint="ingest again to make a new version",
        )


def _encode_films(site: Site, plan: Plan, cohort: Cohort) -> Tokens:
    import torch

    from shared.model.encoders import encode, load_encoder

    encoder = load_encoder(plan.settings.encoder, site.encoder_file(plan.encoder_sha256))
    encoder = encoder.to(choose_device(plan.settings.device))
    pieces = []
    with repeatable():
        for start in range(0, len(cohort.images), _FILMS_AT_ONCE):
            films = np.asarray(cohort.images[start : start + _FILMS_AT_ONCE], dtype=np.float32)
            pieces.append(encode(encoder, torch.from_numpy(films)[:, None]).numpy())
    channels, grid = plan.settings.encoder.token_channels, plan.settings.encoder.token_grid
    return np.concatenate([np.zeros((0, grid**2, channels), dtype=np.float32), *pieces])


def _write_tokens(path: Path, tokens: Tokens) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as stream:
        np.save(stream, tokens)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    sync_folder(path.parent)
