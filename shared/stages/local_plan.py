"""The plan by which one hospital trains a release further for itself: its weights never leave it.

Two stages: noised steps on its training patients from the release's weights, and a noised comparison
on its internal ones, of the release with that training and without. Price and noise are those of any
training: the hospital's patients pay for it in their ledger. Whoever holds the release writes the same
plan from the hospital's name, key, declared patients, day and ε. Imports the contract and the
accountant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date

import numpy as np

from shared.contract.plan import MeasuredRelease, Plan, RosterEntry
from shared.contract.protocol import Vector
from shared.contract.release import Release
from shared.contract.stages import GradientStage, MeasureStage, TableStage
from shared.errors import PlanError
from shared.measure.table.planned import patients_asked
from shared.measures.importance import LOCAL_TRAINING, ImportanceSettings, rise_without
from shared.privacy.accountant import calibrate, epsilon_of
from shared.privacy.cost import events_of, predict_cost
from shared.signing.code_hash import installed_code_hash
from shared.stages.measure import measure_of
from shared.sums.estimate import Estimate

LOCAL, COMPARED = "local", "local_internal"
# Steps, and how far they reach together: a share of the way that the release's training went, chosen on
# public synthetic patients (DECISIONS D-135).
_STEPS, _REACH = 10, 1 / 15
# Largest rise of one patient's error that counts, as a share of the table's public bound of an error;
# of classes the same share of a probability.
_CLIP = 0.2
# A noised change of the weights is C·σ·√p long but for a few percent (as of any training's bound).
_MARGIN = 1.5


def local_plan(
    release: Release,
    *,
    site: str,
    public_key: str,
    declared_patients: int,
    epsilon: float | None,
    day: date,
) -> Plan:
    """The plan by which one hospital trains a release further; a plan of the same day is the same.

    Args:
        release: a verified release.
        site: name of the hospital's site.
        public_key: the key that it signs with.
        declared_patients: that it publishes.
        epsilon: what the training costs a patient; None: what the release cost those who trained it.
        day: on which it trains.

    Raises:
        PlanError: the release was not trained by gradients, has no price, or its plan has no noised
            table of internal patients.
        PrivacyError: no noise gives this ε.
    """
    own, trained, table = release.plan, _gradients_of(release.plan), _table_of(release.plan)
    entry = RosterEntry(
        site=site,
        role="training",
        public_key=public_key,
        declared_patients=declared_patients,
        weight=1.0,
    )
    stages = (
        local_stage(
            own,
            declared=declared_patients,
            epsilon=price_of(own) if epsilon is None else epsilon,
            n_parameters=release.weights.size,
        ),
        MeasureStage(
            name=COMPARED,
            roles=("training",),
            patients="internal",
            release_class="dp",
            noise_multipliers=(table.noise_of(1),),
            reads=LOCAL,
            measure=ImportanceSettings(
                kind="importance", of="local_training", clip=_CLIP * _largest_error(own, table)
            ),
            minimum_cell=table.minimum_cell,
            minimum_patients=1,
        ),
    )
    return Plan(
        run=local_run(release),
        written_utc=f"{day.isoformat()}T00:00:00+00:00",
        settings=own.settings,
        stages=stages,
        roster=(entry,),
        coordinator_key=public_key,
        code_sha256=installed_code_hash(),
        encoder_sha256=own.encoder_sha256,
        initial_weights_sha256=release.record.weights_sha256,
        layout_sha256=own.layout_sha256,
        predicted=predict_cost(stages, delta=own.settings.delta),
        release=MeasuredRelease(
            run=release.record.run,
            plan_sha256=own.sha256,
            release_sha256=release.sha256,
            weights_sha256=release.record.weights_sha256,
            trained=trained,
        ),
    )


def local_run(release: Release) -> str:
    """The name under which a ledger holds the local training of a release."""
    return f"local-{release.sha256[:12]}"


def local_stage(own: Plan, *, declared: int, epsilon: float, n_parameters: int) -> GradientStage:
    """Noised steps of one hospital from a release's weights: short ones, in one message.

    Args:
        own: the release's plan.
        declared: patients that the hospital declares.
        epsilon: what they cost a patient there.
        n_parameters: p, number of trainable weights.

    Raises:
        PlanError: the release was not trained by gradients.
        PrivacyError: no noise gives this ε.
    """
    trained = _gradients_of(own)
    rate = trained.learning_rate * trained.strategy.server_learning_rate
    reach = _REACH * trained.total_steps * rate
    noise = calibrate(epsilon, own.settings.delta, steps=_STEPS)
    loudness = noise * math.sqrt(n_parameters) / declared
    return GradientStage(
        name=LOCAL,
        roles=("training",),
        patients="train",
        release_class="dp",
        noise_multipliers=(noise,),
        fold="site",
        local_steps=_STEPS,
        learning_rate=reach / _STEPS,
        clip_norm=trained.clip_norm,
        sample_rate=1.0,
        update_norm_max=reach * trained.clip_norm * _MARGIN * (1.0 + loudness),
    )


def price_of(own: Plan) -> float:
    """What a release cost a patient who trained it.

    Raises:
        PlanError: nothing formal was promised.
    """
    events = events_of(_gradients_of(own))
    if events is None:
        raise PlanError(
            "no-price",
            f"run {own.run} trained without privacy, so that its plan names no price",
            hint="name what local training may cost a patient: --epsilon",
        )
    return epsilon_of(events, own.settings.delta)


def _gradients_of(own: Plan) -> GradientStage:
    if own.training is None:
        raise PlanError(
            "cannot-go-on",
            f"run {own.run} was not trained by gradients, from whose weights one could go on",
            hint="a learner of tables begins anew: train it at the hospital alone",
        )
    return own.training


def _table_of(own: Plan) -> TableStage:
    """The noised table of internal patients, whose price and bounds the comparison has."""
    for table in own.tables:
        if (table.patients, table.release_class) == ("internal", "dp"):
            return table
    raise PlanError(
        "no-noised-table",
        f"the plan of run {own.run} has no noised table of internal patients, by whose bounds weights "
        "could be compared",
        hint="ask the coordinator for a release that is validated by noised tables",
    )


def _largest_error(own: Plan, table: TableStage) -> float:
    return table.error_high if own.settings.task.kind == "regression" else 1.0


def read_comparison(plan: Plan, total: Vector) -> Mapping[str, Estimate]:
    """The figures of a local plan's comparison, from its noised total [m].

    The rise is of the error without local training: above 0, that training helps.
    """
    stage, [entry] = plan.measures[0], plan.roster
    measure = measure_of(plan.settings, stage)
    expected = patients_asked(
        plan.settings.cohort.split,
        stage.patients,
        declared=entry.declared_patients,
        minimum_patients=stage.minimum_patients,
    )
    return measure.read(
        np.asarray(total, dtype=np.float64),
        sd=stage.noise_of(1) * measure.norm,
        minimum_cell=stage.minimum_cell,
        n_expected=expected,
    )


def verdict_of(figures: Mapping[str, Estimate]) -> str:
    """Whether the hospital reads better with its local training, in plain words."""
    rise = figures[rise_without(LOCAL_TRAINING)]
    if rise.value is None or rise.low is None or rise.high is None:
        return "not told: too few patients, or too much noise, for a comparison"
    if rise.low > 0:
        return "local training helps"
    if rise.high < 0:
        return "LOCAL TRAINING IS WORSE than the release: read with the release"
    side = "below" if rise.value < 0 else "above"
    return f"no difference is told (the estimate lies {side} 0; below, the release alone reads better)"


def comparison_facts(plan: Plan, total: Vector) -> dict[str, object]:
    """The comparison in words: each figure with its interval, then the verdict."""
    figures = read_comparison(plan, total)
    facts: dict[str, object] = {name: _in_words(each) for name, each in figures.items()}
    return facts | {"verdict": verdict_of(figures)}


def _in_words(each: Estimate) -> str:
    if each.value is None:
        return each.status
    if each.low is None or each.high is None:
        return f"{each.value:.4g}"
    return f"{each.value:.4g} ({each.low:.4g} to {each.high:.4g})"
