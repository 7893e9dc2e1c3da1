"""A site's keys, policy, ledger and gate in a folder, a coordinator's key, and plans to ask with."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import yaml

from client.gate.gate import Gate, open_gate
from client.gate.ledger import Charge, Ledger
from client.site.policy import PolicySettings, read_policy, write_policy_template
from server.federation.plan import resolve_stages, shared_settings
from shared.contract.plan import Plan, PredictedCost, RosterEntry
from shared.contract.settings import read_settings
from shared.contract.stages import Stage
from shared.errors import OsteoFedError
from shared.privacy.cost import predict_cost
from shared.privacy.events import GaussianEvent
from shared.privacy.filter import Allowance
from shared.signing.keys import SigningKey, create_key, load_key

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SITE = "north"
ALLOWANCE = Allowance(epsilon_lifetime=10.0, epsilon_per_run=3.0, delta=1e-5)
PATIENTS = [f"patient-{number:03d}" for number in range(80)]


def clock() -> datetime:
    return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def site_key(folder: Path) -> SigningKey:
    path = folder / "signing.pem"
    return load_key(path) if path.exists() else create_key(path)


def coordinator_key(folder: Path) -> SigningKey:
    path = folder / "coordinator.pem"
    return load_key(path) if path.exists() else create_key(path)


def open_ledger(folder: Path) -> Ledger:
    return Ledger(folder / "ledger", site=SITE, key=site_key(folder), clock=clock)


def make_charge(round_number: int = 1, **changes: object) -> Charge:
    values: dict[str, object] = {
        "charge_class": "dp",
        "event": GaussianEvent(noise_multiplier=10.0, steps=5),
        "purpose": "train",
        "plan_sha256": "a" * 64,
        "run": "run-one",
        "stage": "train",
        "round": round_number,
        "request_sha256": f"request-{round_number}",
    }
    return Charge(**(values | changes))


def make_policy(folder: Path, **changes: object) -> PolicySettings:
    folder.mkdir(exist_ok=True)
    path = folder / "policy.yaml"
    if not path.exists():
        write_policy_template(path)
    content = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump(content))
    return read_policy(path)


def make_gate(folder: Path, **policy: object) -> Gate:
    make_policy(folder, **policy)
    return open_gate(folder, site=SITE, key=site_key(folder), clock=clock)


def make_plan(
    folder: Path, *, role: str = "training", stated_epsilon: float | None = -1.0, **settings: object
) -> Plan:
    """A plan for ``SITE``; ``settings`` are dotted names with __ for the dot.

    ``stage__``: what of the training stage is other than the settings give.
    """
    content = _default_settings()
    of_stage = {}
    for name, value in settings.items():
        group, _, key = name.partition("__")
        if group == "stage":
            of_stage[key] = value
        else:
            content[group] = content[group] | {key: value}
    asked = read_settings(content)
    stages = resolve_stages(asked, n_parameters=3, declared={"training": (100,)})
    stages = (stages[0].model_copy(update=of_stage), *stages[1:])
    return Plan(
        run="run-one",
        written_utc=clock().isoformat(),
        settings=shared_settings(asked),
        stages=stages,
        roster=(
            RosterEntry(
                site=SITE,
                role=role,
                public_key=site_key(folder).public_hex,
                declared_patients=100,
                weight=1.0,
            ),
        ),
        coordinator_key=coordinator_key(folder).public_hex,
        code_sha256="c" * 64,
        encoder_sha256=asked.encoder.sha256,
        initial_weights_sha256="d" * 64,
        layout_sha256="e" * 64,
        predicted=_predicted(stages, asked.privacy.delta, stated_epsilon),
    )


def _predicted(stages: tuple[Stage, ...], delta: float, stated_epsilon: float | None) -> PredictedCost:
    """The true cost; one that cannot be computed, or a lie, where a test asks for it."""
    try:
        predicted = predict_cost(stages, delta=delta)
    except OsteoFedError:
        predicted = PredictedCost(
            mechanism="Gaussian",
            accountant="exact Gaussian",
            delta=delta,
            splits=(),
            training_epsilon=3.0,
            validation_epsilon=None,
            description_epsilon=0.0,
        )
    if stated_epsilon == -1.0:
        return predicted
    return predicted.model_copy(update={"training_epsilon": stated_epsilon})


def _default_settings() -> dict[str, dict[str, object]]:
    def read(part: str) -> dict[str, object]:
        content: dict[str, object] = yaml.safe_load((CONFIGS / f"{part}.yaml").read_text())
        return content

    return {
        "experiment": "test",  # type: ignore[dict-item]
        "task": read("task/bmd_regression"),
        "cohort": read("cohort/hip_bmd"),
        "encoder": {
            "name": "tiny",
            "weights": "tiny.safetensors",
            "sha256": "0" * 64,
            "token_channels": 4,
            "token_grid": 2,
        },
        "fusion": read("fusion/linear"),
        "privacy": read("privacy/patient_dp")
        | {"epsilon": 3.0, "noise_multiplier": 10.0, "update_norm_max": 1.0},
        "strategy": {},
        "federation": {"rounds": 10, "local_steps": 5, "learning_rate": 1.0},
        "validation": {"bins": 12},
        "engine": {},
    }
