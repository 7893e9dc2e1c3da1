"""Plans of a few sites without keys or folders, for what needs a plan and no federation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import numpy as np

from server.federation.compose import compose_settings
from server.federation.plan import resolve_stages, shared_settings
from server.federation.tables import Declared, table_stage
from shared.contract.decision import decision_of
from shared.contract.plan import Plan, RosterEntry
from shared.contract.protocol import vector_sha256
from shared.contract.release import Release, ReleaseRecord
from shared.contract.settings import Settings
from shared.contract.stages import GradientStage
from shared.measure.table.spec import TableSpec, table_spec
from shared.model.build import build_model
from shared.model.weights import flatten_weights
from shared.privacy.cost import predict_cost
from shared.stages.local_plan import local_plan


def plan_of(settings: Settings, sites: Mapping[str, int], *, external: str = "") -> Plan:
    """The plan over training sites by declared size, weighted by it, and one external site."""
    n_parameters = flatten_weights(build_model(settings, generator_seed=settings.seed)).size
    declared: Declared = {"training": list(sites.values()), "external": [100] if external else []}
    stages = resolve_stages(settings, n_parameters=n_parameters, declared=declared)
    total = sum(sites.values())
    return Plan(
        run="practice",
        written_utc="2026-01-01T00:00:00+00:00",
        settings=shared_settings(settings),
        stages=stages,
        roster=tuple(
            RosterEntry(
                site=site,
                role="external" if site == external else "training",
                public_key="0" * 64,
                declared_patients=declared,
                weight=0.0 if site == external else declared / total,
            )
            for site, declared in (sites | ({external: 100} if external else {})).items()
        ),
        coordinator_key="0" * 64,
        code_sha256="c" * 64,
        encoder_sha256=settings.encoder.sha256,
        initial_weights_sha256="d" * 64,
        layout_sha256="e" * 64,
        predicted=predict_cost(stages, delta=settings.privacy.delta),
    )


def table_of(settings: Settings, *, n_patients: int = 1000) -> TableSpec:
    """The table that a training site of so many patients is planned with for its internal ones."""
    declared: Declared = {"training": [n_patients]}
    stage = table_stage(settings, "internal", ("training",), "internal", declared=declared)
    return table_spec(settings, stage)


def trained(plan: Plan, **changes: object) -> GradientStage:
    """The plan's training stage, changed."""
    if plan.training is None:
        raise ValueError("the plan trains nothing")
    return plan.training.model_copy(update=changes)


def with_training(plan: Plan, **changes: object) -> Plan:
    """A plan with another training stage, unchecked; what it states of its cost is the old one's."""
    stage = trained(plan, **changes)
    stages = tuple(stage if each.name == stage.name else each for each in plan.stages)
    changed = plan.model_copy(update={"stages": stages})
    changed.__dict__.pop("sha256", None)
    return changed


def unread_release(*overrides: str) -> Release:
    """A release of clinical fields, for what needs its plan and record and no weights."""
    plan = plan_of(
        compose_settings(["encoder=none", "fusion=clinical_only", *overrides]), {"ash": 400, "elm": 300}
    )
    record = ReleaseRecord(
        run=plan.run,
        plan_sha256=plan.sha256,
        weights_sha256="1" * 64,
        layout_sha256=plan.layout_sha256,
        encoder_sha256="",
        preprocessing="1",
        decision=decision_of(plan.settings),
        code_sha256=plan.code_sha256,
        ledger_heads={},
        rounds=3,
    )
    return Release(record=record, plan=plan, weights=None)  # type: ignore[arg-type]


def started_release(*overrides: str) -> Release:
    """A release of clinical fields whose weights are none that anybody trained."""
    release, weights = unread_release(*overrides), np.zeros(12, dtype=np.float32)
    record = release.record.model_copy(update={"weights_sha256": vector_sha256(weights)})
    return replace(release, record=record, weights=weights)


def planned_locally(release: Release, **changes: object) -> Plan:
    """The plan by which site ``hop`` trains a release further."""
    values: dict[str, object] = {"site": "hop", "public_key": "2" * 64, "declared_patients": 200}
    values |= {"epsilon": None, "day": date(2026, 1, 5)}
    return local_plan(release, **(values | changes))  # type: ignore[arg-type]
