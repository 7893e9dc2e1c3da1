"""Writes a sweep: arms by YAML, one price for all of them, a signed plan for each.

The ε of the settings is that of the whole sweep. n arms of μ/√n each compose to μ exactly, which leaves
each more than ε/n. Imports plans and the accountant; depends on public values only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from server.federation.compose import CONFIGS, compose_followed
from server.federation.folder import Enrolled, Home
from server.federation.own_options import SWEEPS
from server.federation.plan import draft_plan, require_run_name
from shared.contract.plan import read_plan, write_plan
from shared.contract.settings import Settings
from shared.contract.sweep import (
    ARM_NAME,
    SignedSweep,
    Sweep,
    SweepArm,
    read_sweep,
    require_one_question,
    write_sweep,
)
from shared.errors import PlanError, PrivacyError, SettingsError
from shared.machine.yaml_file import YamlMistakesError, read_yaml
from shared.privacy.cost import predict_cost
from shared.strict import FROZEN

# Of sampled steps μ/√n composes to μ only nearly: each arm's share is lowered until the whole fits.
_LOWERED = (1.0, 0.99, 0.98, 0.96, 0.92)


class SweepFile(BaseModel):
    """Arms that a person wants tried.

    Attributes:
        settings: of every arm, ``group=name`` or ``group.key=value``. Their ε, of training and of each
            measure, is what the whole sweep may cost a patient.
        arms: by name, in the order in which they are played: settings of that arm alone.
    """

    model_config = FROZEN

    settings: tuple[str, ...] = ()
    arms: dict[Annotated[str, Field(pattern=ARM_NAME)], tuple[str, ...]] = Field(min_length=2)


@dataclass(frozen=True)
class Arm:
    """An arm's name, and its settings with the ε of the whole sweep."""

    name: str
    settings: Settings


def read_sweep_file(named: str | Path) -> SweepFile:
    """The arms of a YAML file: one of ``configs/sweep`` by name, or any by its path.

    Raises:
        SettingsError: there is none, or it is not valid.
    """
    shipped = {path.stem: path for path in sorted((CONFIGS / SWEEPS).glob("*.yaml"))}
    path = shipped.get(str(named), Path(named))
    if not path.is_file():
        raise SettingsError(
            "no-sweep-file",
            f"a sweep must be a YAML file or one of {sorted(shipped)}, not {named}",
            hint="configs/sweep/fm_cxr_small.yaml is an example",
        )
    try:
        return read_yaml(path, SweepFile, whole="sweep")
    except YamlMistakesError as error:
        raise SettingsError(
            "invalid-sweep",
            f"{path.name} is not valid:\n{error}",
            hint="it holds `settings`, a list, and `arms`, a list of settings by name",
        ) from None


def compose_arms(
    asked: SweepFile,
    overrides: Sequence[str] = (),
    *,
    cohort: str | Path | None = None,
    own: Path | None = None,
) -> tuple[Arm, ...]:
    """The settings of every arm: the file's, then ``overrides``, then the arm's own; the last counts.

    Raises:
        SettingsError: of the first arm whose settings are not valid; or a noise multiplier was given,
            which no ε would divide.
    """
    arms = []
    for name, alone in asked.arms.items():
        words = {word.partition("=")[0]: word for word in (*asked.settings, *overrides, *alone)}
        settings, _ = compose_followed(list(words.values()), cohort=cohort, own=own)
        if settings.privacy.noise_multiplier is not None:
            raise SettingsError(
                "sweep-noise",
                f"privacy.noise_multiplier must be null in a sweep, and is given for arm {name}",
                hint="privacy.epsilon is what the whole sweep costs; each arm's noise follows from it",
            )
        arms.append(Arm(name, settings))
    return tuple(arms)


def share_of(epsilon: float, n_arms: int, *, delta: float) -> float:
    """ε of one of n equal arms that cost ``epsilon`` together: that of μ/√n, more than ε/n.

    Source: n Gaussian mechanisms of μ compose to μ√n (Dong, Roth, Su 2022, arXiv 1905.02383, cor. 3.3).

    Example:
        >>> round(share_of(3.0, 12, delta=1e-5), 2)
        0.76
    """
    from shared.privacy.accountant import gaussian_epsilon, gaussian_mu

    return gaussian_epsilon(gaussian_mu(epsilon, delta) / math.sqrt(n_arms), delta)


def draft_sweep(
    arms: Sequence[Arm],
    sites: Sequence[Enrolled],
    *,
    name: str,
    coordinator_key: str,
    now: datetime,
    valid_until: date | None = None,
) -> SignedSweep:
    """A sweep over enrolled sites, a run NAME-ARM for each arm.

    Args:
        arms: as of ``compose_arms``.
        sites: enrolled sites, in roster order.
        name: of the sweep.
        coordinator_key: public key of the coordinator.
        now: the coordinator's clock.
        valid_until: of every plan.

    Raises:
        PlanError: as of ``draft_plan``; or the arms do not ask one question.
        PrivacyError: no share makes the whole cost what was promised.
    """
    require_run_name(name)
    promised = max(_promised(arm.settings) for arm in arms)
    for lowered in _LOWERED:
        plans = [
            draft_plan(
                divided(arm.settings, len(arms), lowered=lowered),
                sites,
                run=f"{name}-{arm.name}",
                coordinator_key=coordinator_key,
                now=now,
                valid_until=valid_until,
            )
            for arm in arms
        ]
        require_one_question(plans)
        stages = [stage for plan in plans for stage in plan.stages]
        predicted = predict_cost(stages, delta=plans[0].settings.delta)
        if (predicted.training_epsilon or 0.0) <= promised:
            break
    else:
        raise PrivacyError(
            "sweep-above-promise",
            f"the arms' training costs epsilon {predicted.training_epsilon:.3f} together, above "
            f"{promised:g}",
            hint="try fewer arms, or a sample rate that all of them share",
        )
    named = zip(arms, plans, strict=True)
    sweep = Sweep(
        name=name,
        written_utc=now.isoformat(),
        arms=tuple(SweepArm(name=arm.name, run=p.run, plan_sha256=p.sha256) for arm, p in named),
        predicted=predicted,
        coordinator_key=coordinator_key,
    )
    return SignedSweep(sweep, tuple(plans))


def divided(settings: Settings, n_arms: int, *, lowered: float = 1.0) -> Settings:
    """Settings with every ε as one arm of n may spend it; ``lowered`` multiplies that of training."""
    privacy, validation = settings.privacy, settings.validation

    def share(epsilon: float | None, part: float = 1.0) -> float | None:
        return None if epsilon is None else part * share_of(epsilon, n_arms, delta=privacy.delta)

    return settings.model_copy(
        update={
            "privacy": privacy.model_copy(update={"epsilon": share(privacy.epsilon, lowered)}),
            "validation": validation.model_copy(
                update={
                    "epsilon": share(validation.epsilon),
                    "description_epsilon": share(validation.description_epsilon),
                }
            ),
            "measures": {
                name: request.model_copy(update={"epsilon": share(request.epsilon)})
                for name, request in settings.measures.items()
            },
        }
    )


def _promised(settings: Settings) -> float:
    """What training may cost a patient in all; without privacy there is nothing to hold."""
    privacy = settings.privacy
    return math.inf if privacy.mode == "off" or privacy.epsilon is None else privacy.epsilon


def sweep_folder(home: Home, name: str) -> Path:
    """Where a sweep's file and results lie."""
    return home.folder / "sweeps" / name


def save_sweep(home: Home, signed: SignedSweep) -> Path:
    """Write ``sweep.json``, to be handed to the sites, and each arm's plan into its run folder.

    Raises:
        PlanError: a sweep, or a run of an arm's name, exists.
    """
    path = sweep_folder(home, signed.sweep.name) / "sweep.json"
    runs = [plan.run for plan in signed.plans if (home.run_folder(plan.run) / "plan.json").exists()]
    if path.exists() or runs:
        raise PlanError(
            "sweep-exists",
            f"sweep {signed.sweep.name} exists already"
            if path.exists()
            else f"runs {runs} of the arms exist already",
            hint="choose another name; sweeps and runs are never overwritten",
        )
    write_sweep(path, signed, home.key())
    lay_out(home, signed)
    return path


def planned_sweep(home: Home, name: str) -> SignedSweep:
    """A sweep as this coordinator signed it.

    Raises:
        PlanError: there is none of that name, or it is damaged.
    """
    path = sweep_folder(home, name) / "sweep.json"
    if not path.exists():
        raise PlanError(
            "no-sweep",
            f"there is no sweep {name} in {home.folder}",
            hint="`osteofed-coordinator sweep plan NAME FILE` writes one",
        )
    return read_sweep(path, coordinator_key=home.key().public_hex)


def lay_out(home: Home, signed: SignedSweep) -> None:
    """Write the plans of arms that have no run folder yet: of a sweep that was cut off while written.

    Raises:
        PlanError: a run of an arm's name has another plan.
    """
    for plan in signed.plans:
        path = home.run_folder(plan.run) / "plan.json"
        if not path.exists():
            write_plan(path, plan, home.key())
        elif read_plan(path).sha256 != plan.sha256:
            raise PlanError(
                "not-of-sweep",
                f"run {plan.run} has another plan than sweep {signed.sweep.name} names",
                hint="somebody exchanged it; write a new sweep under another name",
            )
