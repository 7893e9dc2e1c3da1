"""Validation tables of a plan: whom each asks, with what noise, in how many bins. Public values only.

Imports the contract, the accountant and what is known of a table before it is there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from shared.contract.settings import Settings
from shared.contract.stages import PatientGroup, Role, TableStage
from shared.exam.schema import SplitRule
from shared.measure.table.bins import bins_for
from shared.measure.table.rows import HISTOGRAM_WEIGHT, row_norm

Declared = Mapping[Role, Sequence[int]]
"""Patients that the sites of each role declare."""


def table_stage(
    settings: Settings,
    name: str,
    roles: tuple[Role, ...],
    patients: PatientGroup,
    *,
    declared: Declared,
) -> TableStage:
    """A stage that validates the release.

    Args:
        settings: validated settings; bins left null are chosen here.
        name: of the stage.
        roles: of the sites that are asked.
        patients: the group asked there.
        declared: of all sites.
    """
    asked = settings.validation
    noise = table_noise(settings, asked.epsilon)
    minimum = asked.prospective_patients if patients == "accrued" else 1
    sizes = [
        patients_asked(settings.cohort.split, patients, declared=size, minimum_patients=minimum)
        for role in roles
        for size in declared.get(role, ())
    ]
    return TableStage(
        name=name,
        roles=roles,
        patients=patients,
        release_class=asked.release_class,
        noise_multipliers=(noise,),
        bins=asked.bins or _bins(sizes, noise, has_moments=settings.task.kind == "regression"),
        score_low=asked.score_low,
        score_high=asked.score_high,
        target_low=asked.target_low,
        target_high=asked.target_high,
        error_high=asked.error_high,
        minimum_cell=asked.minimum_cell,
        sensitivity_target=asked.sensitivity_target,
        minimum_patients=minimum,
    )


def patients_asked(
    split: SplitRule, patients: PatientGroup, *, declared: int, minimum_patients: int
) -> float:
    """How many of a site's declared patients a stage is expected to ask.

    Args:
        split: shares of a cohort.
        patients: the group that is asked.
        declared: patients that the site declares.
        minimum_patients: how many accrued patients a site waits for.
    """
    if patients == "accrued":
        return float(minimum_patients)
    shares = {"train": split.train, "internal": split.internal, "everybody": 1.0}
    return declared * shares[patients]


def table_noise(settings: Settings, epsilon: float) -> float:
    """Noise multiplier of one sum that measures at this ε; 0 where the release is governed."""
    from shared.privacy.accountant import calibrate

    if settings.validation.release_class != "dp":
        return 0.0
    return calibrate(epsilon, settings.privacy.delta)


def _bins(sizes: Sequence[float], noise: float, *, has_moments: bool) -> int:
    """Best for all sites' tables together: they are of one shape, and a single one says less."""
    return bins_for(
        noise_multiplier=noise * math.sqrt(len(sizes)),
        sensitivity=row_norm(has_moments=has_moments),
        weight=HISTOGRAM_WEIGHT[has_moments],
        n_patients=sum(sizes),
    )
