"""Writes a run's plan: settings resolved, roster fixed, privacy cost predicted, before anything runs.

Everything here depends on public values only: settings, declared sizes, the public schedule.
Imports the model (for its layout) and the accountant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime

from server.encoders.file import encoder_file
from server.federation.folder import Enrolled, Home
from shared.contract.plan import RUN_NAME, Plan, RosterEntry, write_plan
from shared.contract.settings import FederationSettings, PrivacySettings, Schedule, Settings
from shared.errors import PlanError
from shared.privacy.cost import given, predict_cost, total_steps
from shared.signing.canonical import sha256_hex
from shared.signing.code_hash import installed_code_hash

# A noised update of p coordinates has norm σ·C·√p up to a few percent; a site clips to this bound
# anyway, so the margin only has to make that clip rare.
_SIGNAL_MARGIN, _NOISE_MARGIN = 1.5, 1.5
# Without clipping no bound follows from the settings; one step may move the weights this far.
_UNCLIPPED_STEP = 100.0
_RUN_NAME = re.compile(RUN_NAME)


def draft_plan(
    settings: Settings, sites: Sequence[Enrolled], *, run: str, coordinator_key: str, now: datetime
) -> Plan:
    """The plan of one run over enrolled sites.

    Args:
        settings: validated settings; values left null are resolved here.
        sites: enrolled sites, in roster order.
        run: name of the run.
        coordinator_key: public key of the coordinator.
        now: the coordinator's clock.

    Raises:
        PlanError: no training site, or the run's name cannot be one.
        RunError: an encoder that is to learn is not at hand.
        PrivacyError: the promised ε cannot be reached with the grid of noise multipliers, or the model
            cannot be trained with one gradient per patient.
    """
    from shared.model.build import build_model
    from shared.model.weights import flatten_weights, layout_sha256
    from shared.train.public_batch import validate_settings_model

    if not _RUN_NAME.fullmatch(run):
        raise PlanError(
            "bad-run-name",
            "a run's name must be 3 to 61 lower-case letters, digits and dashes",
            hint="for example spring-2026",
        )
    training = [site for site in sites if site.role == "training"]
    if not training:
        raise PlanError(
            "no-training-site",
            f"the roster {[site.site for site in sites]} has no training site",
            hint="enrol at least one with `osteofed-coordinator enrol --role training`",
        )
    file = None if settings.encoder.training == "frozen" else encoder_file(settings.encoder)
    validate_settings_model(settings, encoder_file=file)
    model = build_model(settings, settings.seed, file)
    weights = flatten_weights(model)
    smallest = min(site.declared_patients for site in training)
    resolved = resolve_settings(settings, n_parameters=len(weights), smallest_divisor=smallest)
    total = sum(site.declared_patients for site in training)
    return Plan(
        run=run,
        written_utc=now.isoformat(),
        settings=resolved,
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
        initial_weights_sha256=sha256_hex(weights.tobytes()),
        layout_sha256=layout_sha256(model),
        predicted=predict_cost(resolved),
    )


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


def resolve_settings(settings: Settings, *, n_parameters: int, smallest_divisor: int) -> Settings:
    """Fill every value that YAML leaves null: schedule, noise multiplier, bound on an update.

    Args:
        settings: validated settings.
        n_parameters: p, number of trainable weights.
        smallest_divisor: the smallest B of the roster, which has the loudest noise per step.
    """
    row = schedule_for(settings)
    given = settings.federation
    federation = given.model_copy(
        update={
            "rounds": given.rounds or row.rounds,
            "local_steps": given.local_steps or row.local_steps,
            "learning_rate": given.learning_rate or row.learning_rate,
        }
    )
    privacy = _resolve_privacy(settings.privacy, federation, n_parameters, smallest_divisor)
    return settings.model_copy(update={"federation": federation, "privacy": privacy})


def schedule_for(settings: Settings) -> Schedule:
    """The row of the public schedule that suits the run's ε; the last one when privacy is off."""
    rows = settings.fusion.schedule
    epsilon = settings.privacy.epsilon if settings.privacy.mode == "patient_dp" else None
    if epsilon is not None:
        for row in rows:
            if row.up_to_epsilon is not None and epsilon <= row.up_to_epsilon:
                return row
    return rows[-1]


def _resolve_privacy(
    privacy: PrivacySettings,
    federation: FederationSettings,
    n_parameters: int,
    smallest_divisor: int,
) -> PrivacySettings:
    steps = int(given(federation.local_steps))
    reach = steps * given(federation.learning_rate)
    if privacy.mode == "off":
        bound = privacy.update_norm_max or reach * _UNCLIPPED_STEP
        return privacy.model_copy(
            update={"noise_multiplier": 0.0, "epsilon": None, "update_norm_max": bound}
        )
    from shared.privacy.accountant import calibrate

    noise = privacy.noise_multiplier or calibrate(
        given(privacy.epsilon),
        privacy.delta,
        steps=total_steps(federation),
        sample_rate=privacy.sample_rate,
    )
    per_step = privacy.clip_norm * (
        _SIGNAL_MARGIN
        + _NOISE_MARGIN * noise * math.sqrt(n_parameters) / (privacy.sample_rate * smallest_divisor)
    )
    bound = privacy.update_norm_max or reach * per_step
    return privacy.model_copy(update={"noise_multiplier": noise, "update_norm_max": bound})
