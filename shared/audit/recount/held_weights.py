"""The weights files of a coordinator's run folder: the hash of each vector, and the tail average.

Reads ``rounds/ROUND/weights.safetensors`` beside its ``state.json``, and ``averaged.safetensors``; what
they show is for ``recount_weights`` to judge. Imports plan, protocol and safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.contract.plan import Plan
from shared.contract.protocol import vector_sha256
from shared.errors import AuditError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RoundWeights:
    """Weights of a committed round: the file's own hash, and what ``state.json`` says of them."""

    sha256: str
    stated_sha256: str
    plan_sha256: str


@dataclass(frozen=True)
class HeldAverage:
    """The tail average: the file's own hash, what it says of itself, the rounds it should average.

    ``error`` is its largest difference from their mean, as a share of the largest weight.
    """

    sha256: str
    stated_sha256: str
    rounds: tuple[int, int]
    error: float


@dataclass(frozen=True)
class HeldWeights:
    """Weights by round, 0 being the initial ones; no average where the run is not finished."""

    rounds: Mapping[int, RoundWeights]
    average: HeldAverage | None


def read_weights(run_folder: Path, plan: Plan) -> HeldWeights:
    """Hash every weights file of a run folder, one vector in memory at a time.

    Raises:
        AuditError: a file is damaged or missing beside another.
    """
    path = run_folder
    try:
        rounds = {}
        for path in sorted((run_folder / "rounds").glob("[0-9]*/state.json")):
            state = json.loads(path.read_bytes())
            path = path.with_name("weights.safetensors")
            vector, _ = _read_vector(path)
            rounds[int(path.parent.name)] = RoundWeights(
                sha256=vector_sha256(vector),
                stated_sha256=str(state["weights_sha256"]),
                plan_sha256=str(state["plan_sha256"]),
            )
        path = run_folder / "averaged.safetensors"
        average = _read_average(run_folder, plan, last=max(rounds)) if path.exists() else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged_run_folder(path, error) from None
    return HeldWeights(rounds, average)


def damaged_run_folder(path: Path, error: Exception) -> AuditError:
    """What to raise when a file of a run folder cannot be read."""
    return AuditError(
        "damaged-run-folder",
        f"{path.parent.name}/{path.name} cannot be read: {type(error).__name__}",
        hint="ask the coordinator for the run folder again",
    )


def _read_average(run_folder: Path, plan: Plan, *, last: int) -> HeldAverage:
    """The file beside the mean of the last rounds' weights, summed in float64."""
    n_tail = plan.settings.strategy.n_averaged(last)
    first = last - n_tail + 1
    average, text = _read_vector(run_folder / "averaged.safetensors")
    mean = np.zeros(average.size)
    for number in range(first, last + 1):
        vector, _ = _read_vector(run_folder / "rounds" / f"{number:04d}" / "weights.safetensors")
        mean += vector / n_tail
    error = float(np.abs(average - mean).max(initial=0.0))
    scale = float(np.abs(mean).max(initial=0.0))
    return HeldAverage(
        sha256=vector_sha256(average),
        stated_sha256=text["weights_sha256"],
        rounds=(first, last),
        error=error / scale if scale > 0 else error,
    )


def _read_vector(path: Path) -> tuple[Floats, dict[str, str]]:
    """Weights [p] of a file, and its text by name."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as stored:
            vector: Floats = stored.get_tensor("weights")
            return vector, dict(stored.metadata() or {})
    except SafetensorError:
        raise ValueError("not a safetensors file with weights") from None
