"""What a table leaves in: the noise that is added to it, and the reply that carries it to the gate.

Imports the training noise, plan and protocol.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.contract.plan import Plan
from shared.contract.protocol import EvaluateReply, EvaluateRequest

Floats = NDArray[np.float64]


def add_noise(table: Floats, *, sensitivity: float, noise_multiplier: float) -> Floats:
    """The table [m] with Gaussian noise from the OS in every cell."""
    import torch

    from shared.privacy.noise import NoiseStream, add_gaussian_noise

    noisy: Floats = add_gaussian_noise(
        torch.from_numpy(table),
        sensitivity=sensitivity,
        noise_multiplier=noise_multiplier,
        draw_normals=NoiseStream(),
    ).numpy()
    return noisy


def measured_reply(request: EvaluateRequest, plan: Plan, table: Floats) -> EvaluateReply:
    """The reply with a table [m]; the gate fills in site, ledger head and signature."""
    return _reply(request, plan, "measured", table)


def empty_reply(
    request: EvaluateRequest, plan: Plan, status: Literal["not-applicable", "waiting"]
) -> EvaluateReply:
    """The reply that says why there is no table."""
    return _reply(request, plan, status, np.zeros(0, dtype=np.float64))


def _reply(request: EvaluateRequest, plan: Plan, status: str, table: Floats) -> EvaluateReply:
    return EvaluateReply(
        plan_sha256=plan.sha256,
        kind=request.kind,
        release_sha256=request.release_sha256,
        site="",
        status=status,
        release_class=plan.settings.validation.release_class,
        table=np.ascontiguousarray(table, dtype=np.float64),
        ledger_head="",
    )
