"""What a site could state: one predicate with a value in every field."""

from __future__ import annotations

from shared.privacy.statement import CAVEATS, PrivacyPredicate

HASH = "a" * 64


def predicate(**changes: object) -> PrivacyPredicate:
    """A site that trained under ε = 3 and released two updates and a table."""
    release = {
        "utc": "2026-01-01T00:00:00+00:00",
        "channel": "train",
        "release_class": "dp",
        "payload_sha256": HASH,
        "epsilon": 0.4,
    }
    plain: dict[str, object] = {
        "site": "north",
        "run": "spring",
        "role": "training",
        "plan_sha256": HASH,
        "issued_utc": "2026-01-02T03:04:05+00:00",
        "guarantee": "(3, 1e-05)-DP",
        "cost": {
            "delta": 1e-5,
            "planned_epsilon": 3.0,
            "training_epsilon": 2.9,
            "run_epsilon": 2.95,
            "n_unprotected": 0,
            "accountant": "exact Gaussian",
            "accountant_version": "scipy 1",
        },
        "lifetime": {
            "epsilon": 4.5,
            "delta": 1e-5,
            "filter": "Gaussian filter",
            "epsilon_cap": 8.0,
            "delta_cap": 1e-5,
            "n_unprotected": 0,
        },
        "mechanism": {
            "name": "Gaussian",
            "clip_norm": 0.5,
            "noise_multipliers": [9.6],
            "sample_rate": 1.0,
            "steps": 50,
            "rounds": 10,
            "update_norm_max": 1.0,
        },
        "noise_source": "ChaCha20",
        "declared_patients": 200,
        "cohorts": [{"cohort_id": HASH, "purposes": ["train"]}],
        "ledger": {"head_sha256": HASH, "head_index": 7, "countersigned": None},
        "releases": [release, release, release | {"channel": "evaluate.internal", "epsilon": 2.0}],
        "n_other_messages": {"status": 1},
        "governed_by": [],
        "software": {
            "code_sha256": HASH,
            "plan_code_sha256": HASH,
            "environment_sha256": HASH,
            "python": "3.11",
            "torch": "2",
            "opacus": "1",
        },
        "caveats": CAVEATS,
    }
    return PrivacyPredicate.model_validate(plain | changes)


def cost(**values: object) -> dict[str, object]:
    """The predicate's cost with some values changed."""
    return predicate().cost.model_dump() | values
