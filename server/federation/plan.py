"""Writes a run's plan: settings resolved, roster fixed, privacy cost predicted, before anything runs.

Everything here depends on public values only: settings, declared sizes, the public schedule.
Imports the model (for its layout) and the accountant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from server.encoders.file import encoder_file
from server.federation.folder import Enrolled, Home
from server.federation.link import deadline_of
from server.federation.suitable import require_suitable
from server.federation.tables import Declared, table_noise, table_stage
from server.federation.withstanding import require_withstanding
from shared.contract.plan import RUN_NAME, Plan, RosterEntry, write_plan
from shared.contract.protocol import vector_sha256
from shared.contract.schedules import ScheduleRow, choose_row, signal_of
from shared.contract.settings import MeasureRequest, Patience, PlanSettings, Settings
from shared.contract.stages import (
    DescriptionStage,
    GradientStage,
    LearnerStage,
    MeasureStage,
    PatientGroup,
    Role,
    Stage,
    TrainingStage,
)
from shared.errors import PlanError
from shared.learners.table import LearnerSettings, build_learner, settle_learner
from shared.learners.task import TableTask
from shared.privacy.cost import predict_cost
from shared.signing.canonical import hash_of
from shared.signing.code_hash import installed_code_hash
from shared.stages.learner import table_task

# A noised update of p coordinates has norm σ·C·√p up to a few percent; a site clips to this bound
# anyway, so the margin only has to make that clip rare.
_SIGNAL_MARGIN, _NOISE_MARGIN = 1.5, 1.5
# Without clipping no bound follows from the settings; one step may move the weights this far.
_UNCLIPPED_STEP = 100.0
# Seconds; more than a round of a table takes, and short beside the wait for a hospital's machine.
_HOSPITALS_QUANTUM_S = 60.0
_PARAMETER_BYTES = 4
_RUN_NAME = re.compile(RUN_NAME)


def draft_plan(
    settings: Settings,
    sites: Sequence[Enrolled],
    *,
    run: str,
    coordinator_key: str,
    now: datetime,
    valid_until: date | None = None,
) -> Plan:
    """The plan of one run over enrolled sites.

    Args:
        settings: validated settings; values left null are resolved here.
        sites: enrolled sites, in roster order.
        run: name of the run.
        coordinator_key: public key of the coordinator.
        now: the coordinator's clock.
        valid_until: the last day on which sites may approve it and answer; None: any day.

    Raises:
        PlanError: no training site, or the run's name cannot be one.
        SettingsError: the learner or a measure does not suit the task, or the strategy's robust rule
            withstands nobody at the quorum.
        RunError: an encoder that is to learn is not at hand.
        PrivacyError: the promised ε cannot be reached with the grid of noise multipliers, or the model
            cannot be trained with one gradient per patient.
    """
    require_run_name(run)
    training = [site for site in sites if site.role == "training"]
    if not training:
        raise PlanError(
            "no-training-site",
            f"the roster {[site.site for site in sites]} has no training site",
            hint="enrol at least one with `osteofed-coordinator enrol --role training`",
        )
    require_suitable(settings)
    require_withstanding(settings, n_sites=len(training))
    # Where training starts, as every site will find it.
    first = _first_state(settings, [site.declared_patients for site in training])
    # Every open value, from public ones.
    declared: dict[Role, list[int]] = {"training": [], "external": []}
    for site in sites:
        declared[site.role].append(site.declared_patients)
    stages = resolve_stages(settings, n_parameters=first.length, declared=declared)
    # The roster, with aggregation weights by declared size.
    total = sum(site.declared_patients for site in training)
    return Plan(
        run=run,
        written_utc=now.isoformat(),
        settings=shared_settings(settings, n_parameters=first.length),
        stages=stages,
        roster=tuple(
            RosterEntry(
                site=site.site,
                role=site.role,
                is_required=site.is_required,
                public_key=site.public_key,
                declared_patients=site.declared_patients,
                weight=site.declared_patients / total if site.role == "training" else 0.0,
            )
            for site in sites
        ),
        coordinator_key=coordinator_key,
        code_sha256=installed_code_hash(),
        encoder_sha256=settings.encoder.sha256,
        initial_weights_sha256=first.sha256,
        layout_sha256=first.layout_sha256,
        predicted=predict_cost(stages, delta=settings.privacy.delta),
        valid_until=valid_until,
    )


def require_run_name(run: str) -> None:
    """Refuse a name that a run cannot have.

    Raises:
        PlanError: it is none.
    """
    if not _RUN_NAME.fullmatch(run):
        raise PlanError(
            "bad-run-name",
            "a run's name must be 3 to 61 lower-case letters, digits and dashes",
            hint="for example spring-2026",
        )


@dataclass(frozen=True)
class _FirstState:
    """Length, hash and layout of the state that training starts from."""

    length: int
    sha256: str
    layout_sha256: str


def _first_state(settings: Settings, training: Sequence[int]) -> _FirstState:
    """Of a model: its initial weights, after a look whether it can be trained; of a learner: its own.

    Raises:
        PrivacyError: the model cannot be trained with one gradient per patient.
    """
    if settings.learner.kind != "gradient":
        learner, task = _settled(settings, settings.learner, training)
        start = build_learner(learner, task).start().vector
        columns = [column.name for column in task.columns]
        layout = hash_of({"columns": columns, "learner": learner.model_dump(mode="json")})
        return _FirstState(start.size, vector_sha256(start), layout)
    from shared.model.build import build_model
    from shared.model.weights import flatten_weights, layout_sha256
    from shared.train.public_batch import validate_settings_model

    file = None if settings.encoder.training == "frozen" else encoder_file(settings.encoder)
    validate_settings_model(settings, encoder_file=file)
    model = build_model(settings, settings.seed, file)
    weights = flatten_weights(model)
    return _FirstState(weights.size, vector_sha256(weights), layout_sha256(model))


def save_plan(home: Home, plan: Plan) -> None:
    """Write a signed plan as ``plan.json`` into a fresh run folder.

    Raises:
        PlanError: a run of that name exists.
    """
    folder = home.run_folder(plan.run)
    if (folder / "plan.json").exists():
        raise PlanError(
            "run-exists",
            f"run {plan.run} exists already",
            hint="choose another name; runs are never overwritten",
        )
    write_plan(folder / "plan.json", plan, home.key())


def shared_settings(settings: Settings, *, n_parameters: int = 0) -> PlanSettings:
    """What all stages of a plan share.

    Raises:
        SettingsError: a message of so many parameters takes longer than the deadline.
    """
    federation, model = settings.federation, settings.model_dump(include=set(_SHARED))
    deadline_s = deadline_of(federation, n_bytes=2 * _PARAMETER_BYTES * n_parameters)
    return PlanSettings.model_validate(
        model
        | {
            "delta": settings.privacy.delta,
            "caps": settings.caps,
            "patience": Patience(
                quorum=federation.quorum,
                round_deadline_s=deadline_s,
                liveness_s=federation.liveness_s,
                poll_s=federation.poll_s,
                reply_quantum_s=_quantum_of(settings, deadline_s),
            ),
            "engine": settings.engine,
        }
    )


def _quantum_of(settings: Settings, deadline_s: float) -> float:
    """Seconds as asked; else those of hospitals where there are any behind the sites, and none."""
    federation = settings.federation
    if federation.reply_quantum_s is not None:
        return federation.reply_quantum_s
    is_played = settings.is_simulated or settings.is_synthetic
    is_of_hospitals = settings.engine.name == "deployed" and not is_played
    return min(_HOSPITALS_QUANTUM_S, deadline_s / 4) if is_of_hospitals else 0.0


_SHARED = (
    *("experiment", "is_synthetic", "is_simulated", "seed", "device"),
    *("task", "cohort", "encoder", "fusion", "features"),
)


# Each kind of validation: its name, the roles it asks, and the patients there.
_GROUPS: tuple[tuple[str, tuple[Role, ...], PatientGroup], ...] = (
    ("internal", ("training",), "internal"),
    ("external", ("external",), "everybody"),
    ("prospective", ("training", "external"), "accrued"),
)


def resolve_stages(settings: Settings, *, n_parameters: int, declared: Declared) -> tuple[Stage, ...]:
    """The stages of a run that trains a release, with every value that YAML leaves null filled in.

    Args:
        settings: validated settings.
        n_parameters: p, number of trainable weights.
        declared: patients that the sites of each role declare. The smallest that trains has the loudest
            noise per step; all together say how many bins their tables have.
    """
    # later patients are told by a date
    groups = [group for group in _GROUPS if settings.cohort.date_column or group[0] != "prospective"]
    # a time to event is validated by a measure alone: a table takes every label as known
    tables = [
        table_stage(settings, *group, declared=declared)
        for group in groups
        if settings.task.kind != "survival"
    ]
    measures = [
        _measure_stage(settings, name, request, *group)
        for name, request in settings.measures.items()
        for group in groups
        if group[0] in request.groups
    ]
    trained = _trained_stage(settings, n_parameters, declared["training"])
    return (trained, *tables, *measures, *_description_stages(settings))


def schedule_for(settings: Settings, training: Sequence[int]) -> ScheduleRow:
    """The row of the run's schedule that suits its ε and the declared sizes of the training sites."""
    epsilon = _promised_epsilon(settings)
    rows = settings.schedules[settings.schedule]
    return choose_row(rows, signal_of(epsilon, training) if epsilon else None)


def _trained_stage(settings: Settings, n_parameters: int, training: Sequence[int]) -> TrainingStage:
    if settings.learner.kind == "gradient":
        return gradient_stage(settings, n_parameters=n_parameters, training=training)
    return _learner_stage(settings, settings.learner, training)


def _learner_stage(settings: Settings, asked: LearnerSettings, training: Sequence[int]) -> LearnerStage:
    """A learner's sums, each with its share of μ² = Σ 1/σ²; noise is rounded up to the grid."""
    from shared.privacy.accountant import NOISE_GRID

    epsilon, mu = _promised_epsilon(settings), _promised_mu(settings)
    learner, task = _settled(settings, asked, training)
    shares = build_learner(learner, task).shares()
    noise = [0.0]
    if mu:
        exact = [1.0 / (mu * math.sqrt(share)) for share in shares]
        noise = [round(math.ceil(each / NOISE_GRID) * NOISE_GRID, 2) for each in exact]
    return LearnerStage(
        name="train",
        roles=("training",),
        patients="train",
        release_class="dp" if epsilon else "off",
        rounds=len(shares),
        noise_multipliers=tuple(noise) if len(set(noise)) > 1 else (noise[0],),
        learner=learner,
        epsilon=epsilon,
    )


def _settled(
    settings: Settings, asked: LearnerSettings, training: Sequence[int]
) -> tuple[LearnerSettings, TableTask]:
    """What a plan writes of a learner, and the task that it is built for."""
    task = table_task(settings, _promised_epsilon(settings))
    return settle_learner(asked, task, mu=_promised_mu(settings), training=training), task


def _promised_mu(settings: Settings) -> float | None:
    """How loud training is, as Gaussian differential privacy; None without privacy."""
    from shared.privacy.accountant import gaussian_mu

    epsilon = _promised_epsilon(settings)
    return gaussian_mu(epsilon, settings.privacy.delta) if epsilon else None


def _promised_epsilon(settings: Settings) -> float:
    """What training promises a patient; 0 without privacy."""
    privacy = settings.privacy
    return 0.0 if privacy.mode == "off" or privacy.epsilon is None else privacy.epsilon


def gradient_stage(settings: Settings, *, n_parameters: int, training: Sequence[int]) -> GradientStage:
    """Training by gradients; what the settings leave open comes from the chosen schedule.

    Args:
        settings: validated settings.
        n_parameters: p, number of trainable weights.
        training: patients that each training site declares.
    """
    asked, privacy, row = settings.federation, settings.privacy, schedule_for(settings, training)
    local_steps = asked.local_steps or row.local_steps
    rounds = asked.rounds or row.rounds
    learning_rate = asked.learning_rate or row.learning_rate
    is_summable = local_steps == 1 and (
        settings.strategy.name == "fedavg" or settings.strategy.is_robust
    )
    fold = asked.fold or (row.fold if is_summable else "site")
    noise = _training_noise(settings, steps=rounds * local_steps)
    reach = local_steps * learning_rate
    if privacy.mode == "off":
        bound = reach * _UNCLIPPED_STEP
    else:
        loudness = noise * math.sqrt(n_parameters) / (privacy.sample_rate * min(training))
        bound = reach * privacy.clip_norm * (_SIGNAL_MARGIN + _NOISE_MARGIN * loudness)
    return GradientStage(
        name="train",
        roles=("training",),
        patients="train",
        release_class="off" if privacy.mode == "off" else "dp",
        rounds=rounds,
        noise_multipliers=(noise,),
        fold=fold,
        local_steps=local_steps,
        learning_rate=learning_rate,
        clip_norm=privacy.clip_norm,
        sample_rate=privacy.sample_rate,
        update_norm_max=privacy.update_norm_max or bound,
        local_tail=row.local_tail if asked.local_tail is None else asked.local_tail,
        canaries=privacy.canaries,
        strategy=settings.strategy,
    )


def _training_noise(settings: Settings, *, steps: int) -> float:
    from shared.privacy.accountant import calibrate

    privacy = settings.privacy
    if privacy.mode == "off" or privacy.epsilon is None:
        return 0.0
    if privacy.noise_multiplier is not None:
        return privacy.noise_multiplier
    return calibrate(privacy.epsilon, privacy.delta, steps=steps, sample_rate=privacy.sample_rate)


def _measure_stage(
    settings: Settings,
    name: str,
    request: MeasureRequest,
    group: str,
    roles: tuple[Role, ...],
    patients: PatientGroup,
) -> MeasureStage:
    asked = settings.validation
    return MeasureStage(
        name=f"{name}_{group}",
        roles=roles,
        patients=patients,
        release_class=asked.release_class,
        noise_multipliers=(table_noise(settings, request.epsilon),),
        measure=request.measure,
        minimum_cell=asked.minimum_cell,
        minimum_patients=asked.prospective_patients if patients == "accrued" else 1,
    )


def _description_stages(settings: Settings) -> list[DescriptionStage]:
    asked = settings.validation
    if asked.description_epsilon is None:
        return []
    return [
        DescriptionStage(
            name="description",
            roles=("training", "external"),
            patients="everybody",
            release_class=asked.release_class,
            noise_multipliers=(table_noise(settings, asked.description_epsilon),),
            has_second_moments=asked.description_second_moments,
            target_low=asked.target_low,
            target_high=asked.target_high,
            minimum_cell=asked.minimum_cell,
        )
    ]
