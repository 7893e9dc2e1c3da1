"""``sums.md``: what leaves a site about patients, by learner and measure: how long, and how bounded."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
from reference.fields import plain
from reference.markdown import code, page, table
from reference.settings import options_of

from server.federation.compose import compose_settings
from server.federation.folder import Enrolled
from server.federation.plan import draft_plan
from shared.contract.plan import Plan
from shared.contract.settings import GradientLearner, Settings
from shared.learners.refused import REFUSED
from shared.learners.table import build_learner
from shared.stages.kinds import sum_of
from shared.stages.learner import table_task
from shared.sums import contract

# Of each learner of tables, the settings of a task that suits it.
_SUITED = {
    "second_moments": "fusion=linear",
    "proportional_hazards": "experiment=hip_fracture privacy.clip_norm=0.5",
    "representatives": "experiment=cssc",
}
_OF_CLASSES = "experiment=bmd_classes"
_DECLARED = 400
_INTRODUCTION = (
    "Everything about patients that leaves a site is a sum of one bounded row per patient, with noise. "
    "*numbers* is how many a message holds, *bound* the largest L2 norm of one patient's row: noise "
    "has a standard deviation of the plan's noise multiplier times the bound. The figures are those of "
    f"the shipped cohort and settings with one training hospital that declares {_DECLARED} patients; "
    "own settings change them, and every plan carries its own."
)


def sums_page() -> str:
    """The page."""
    law = plain(inspect.getdoc(contract) or "").partition("\n\nLegend")[0].partition("\n\n")[2]
    return page(
        "Sums: learners and measures",
        _INTRODUCTION,
        ["## The contract", "", law.partition(" Imports nothing")[0]],
        _training(),
        _measuring(),
        _refused(),
    )


def _training() -> Iterator[str]:
    rows = []
    for fusion in options_of("fusion"):
        plan = _plan(compose_settings([f"fusion={fusion}"]))
        stage = plan.training
        if stage is None:
            raise LookupError(fusion)
        length = sum_of(plan, stage, encoder_file=None).bound(1).length
        row = (f"{code('gradient')}, {code(f'fusion={fusion}')}", stage.total_steps)
        rows.append((*row, f"{length:,}", f"{stage.clip_norm:g}", f"equal, {stage.rounds} messages"))
    for name in options_of("learner"):
        settings = compose_settings([*_SUITED.get(name, _OF_CLASSES).split(), f"learner={name}"])
        if not isinstance(settings.learner, GradientLearner):
            rows.append((code(name), *_learner_cells(settings)))
    yield from (
        "",
        "## What trains",
        "",
        "What each is: [learner](settings.md#learner).",
    )
    yield from table(
        ("learner", "sums", "numbers of a sum", "bound of a row", "share of the budget"), rows
    )


def _learner_cells(settings: Settings) -> tuple[object, ...]:
    if isinstance(settings.learner, GradientLearner):
        raise TypeError("a learner of tables")
    learner = build_learner(settings.learner, table_task(settings, settings.privacy.epsilon or 0.0))
    shares = learner.shares()
    states = [learner.start()]
    for _ in shares[1:]:
        total = np.zeros(learner.length(states[-1]))
        states.append(learner.advance(states[-1], total, sd=1.0, n_declared=1.0))
    lengths = dict.fromkeys(f"{learner.length(state):,}" for state in states)
    bounds = dict.fromkeys(f"{learner.bound(state):.3g}" for state in states)
    parts = dict.fromkeys(f"{share:.2g}" for share in shares)
    several = len(shares) > 1 and len(parts) == 1
    told = "equal" if several else ", then ".join(parts)
    return (len(shares), ", then ".join(lengths), ", then ".join(bounds), told)


def _measuring() -> Iterator[str]:
    of_followed = "survival"
    others = [name for name in options_of("measure") if name != of_followed]
    further = f"measure=[{','.join(others)}]"
    asked = {
        "a number": [further, "validation.description_epsilon=1"],
        "ordered classes": [_OF_CLASSES],
        "a time to event": _SUITED["proportional_hazards"].split(),
    }
    rows = []
    for words, overrides in asked.items():
        plan = _plan(compose_settings(overrides))
        for stage in plan.stages:
            if stage.patients in ("internal", "everybody") and "training" in stage.roles:
                ready: Any = sum_of(plan, stage, encoder_file=None)
                is_table = stage.kind == "table"
                name = (
                    f"validation of {words}" if is_table else code(stage.name.removesuffix("_internal"))
                )
                bound = ready.noise_sd / stage.noise_of(1)
                rows.append((name, f"{ready.bound(1).length:,}", f"{bound:.3g}"))
    yield from (
        "## What measures",
        "",
        "What each is: [measure](settings.md#measure).",
    )
    yield from table(("table", "numbers", "bound of a row"), rows)


def _refused() -> Iterator[str]:
    names: dict[str, list[str]] = {}
    for name, error in REFUSED.items():
        names.setdefault(error.code, []).append(code(name))
    told = {error.code: error for error in REFUSED.values()}
    rows = [(" ".join(names[each]), code(each), told[each].fact, told[each].hint) for each in names]
    yield from ("## What patient-level privacy does not allow", "")
    yield "`learner=` any of these is refused, and a setting of that name in any group, with its code."
    yield from table(("learner or setting", "code", "why", "instead"), rows)


def _plan(settings: Settings) -> Plan:
    site = Enrolled(
        site="aster",
        public_key="0" * 64,
        declared_patients=_DECLARED,
        role="training",
        enrolled_utc="2026-01-01T00:00:00+00:00",
    )
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return draft_plan(settings, [site], run="reference", coordinator_key="0" * 64, now=now)
