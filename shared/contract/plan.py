"""The plan: resolved settings, roster and predicted privacy cost, hashed and signed before a run.

Every message of a run carries the plan's hash; a site acts only on a plan that a named person there
approved. The format is versioned and unknown versions are refused. Imports settings, keys, canonical.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from shared.contract.settings import Settings
from shared.errors import PlanError
from shared.machine.files import write_atomic
from shared.signing.canonical import canonical_json, sha256_hex
from shared.signing.keys import SigningKey, verify
from shared.strict import FROZEN

PLAN_VERSION: Final = 2
RUN_NAME = "^[a-z0-9][a-z0-9-]{2,60}$"
HASH = "^[0-9a-f]{64}$"


class RosterEntry(BaseModel):
    """One site of a run.

    ``declared_patients`` is a size bucket the hospital publishes; the divisor B of the noised sum and
    the aggregation weight come from it, never from the cohort's true size.
    """

    model_config = FROZEN

    site: str = Field(pattern="^[a-z][a-z0-9-]{1,40}$")
    role: Literal["training", "external"]
    is_required: bool = True
    public_key: str = Field(pattern=HASH)
    declared_patients: int = Field(ge=1)
    weight: float = Field(ge=0, le=1)


class PredictedCost(BaseModel):
    """What a run will cost a patient, known before it starts. ``None``: no formal guarantee.

    Of the description, None also says that the plan releases none.
    """

    model_config = FROZEN

    unit: Literal["patient"] = "patient"
    adjacency: Literal["add/remove"] = "add/remove"
    mechanism: str
    accountant: str
    delta: float
    training_epsilon: float | None
    validation_epsilon: float | None
    validation_noise_multiplier: float | None
    description_epsilon: float | None = None
    description_noise_multiplier: float | None = None


class Plan(BaseModel):
    """All that matters to privacy or to the result of one run, by value."""

    model_config = FROZEN

    version: Literal[2] = PLAN_VERSION
    run: str = Field(pattern=RUN_NAME)
    written_utc: str
    settings: Settings
    roster: tuple[RosterEntry, ...] = Field(min_length=1)
    coordinator_key: str = Field(pattern=HASH)
    code_sha256: str = Field(pattern=HASH)
    encoder_sha256: str | None = Field(pattern=HASH)
    initial_weights_sha256: str = Field(pattern=HASH)
    layout_sha256: str = Field(pattern=HASH)
    predicted: PredictedCost

    @model_validator(mode="after")
    def _names_one_encoder(self) -> Plan:
        if self.settings.encoder.name != "none" and self.encoder_sha256 != self.settings.encoder.sha256:
            raise ValueError("encoder_sha256 must be the settings' encoder.sha256")
        return self

    @cached_property
    def sha256(self) -> str:
        """The plan's identity: SHA-256 of its canonical JSON."""
        return sha256_hex(self.canonical())

    def canonical(self) -> bytes:
        """Canonical JSON bytes, the ones that are hashed and signed."""
        return canonical_json(self.model_dump(mode="json"))

    def entry(self, site: str) -> RosterEntry:
        """The roster's entry of a site.

        Raises:
            PlanError: the site is not on the roster.
        """
        for entry in self.roster:
            if entry.site == site:
                return entry
        raise PlanError(
            "not-on-roster",
            f"site {site} is not on the roster {[entry.site for entry in self.roster]}",
            hint="ask the coordinator to add the site and to write a new plan",
        )

    def sites(self, role: Literal["training", "external"]) -> tuple[RosterEntry, ...]:
        """Roster entries of a role, in roster order."""
        return tuple(entry for entry in self.roster if entry.role == role)


def write_plan(path: Path, plan: Plan, key: SigningKey) -> None:
    """Write ``plan`` with its hash and the coordinator's signature."""
    envelope = {
        "sha256": plan.sha256,
        "signature": key.sign(plan.canonical()),
        "plan": plan.model_dump(mode="json"),
    }
    write_atomic(path, json.dumps(envelope, indent=1).encode())


def read_plan(path: Path, *, coordinator_key: str | None = None) -> Plan:
    """Read a signed plan and check hash and signature.

    Args:
        path: file written by ``write_plan``.
        coordinator_key: the key that must have signed; None trusts the key named in the plan, which
            only the coordinator itself may do.

    Raises:
        PlanError: damaged, of an unknown version, or signed by somebody else.
    """
    try:
        envelope = json.loads(path.read_bytes())
        content = envelope["plan"]
        if content.get("version") != PLAN_VERSION:
            raise PlanError(
                "unknown-version",
                f"plan version must be {PLAN_VERSION}, not {content.get('version')!r}",
                hint="install the release of OsteoFed that wrote this plan",
            )
        plan = Plan.model_validate(content)
    except (OSError, ValueError, KeyError, AttributeError, ValidationError) as error:
        raise PlanError(
            "unreadable",
            f"{path.name} is not a plan: {type(error).__name__}",
            hint="ask the coordinator for the file that `osteofed-coordinator plan` wrote",
        ) from None
    signer = coordinator_key or plan.coordinator_key
    if plan.coordinator_key != signer or envelope.get("sha256") != plan.sha256:
        raise PlanError(
            "changed",
            f"{path.name} differs from what its hash or its coordinator says",
            hint="do not approve it; fetch the plan again",
        )
    if not verify(signer, plan.canonical(), str(envelope.get("signature"))):
        raise PlanError(
            "bad-signature",
            f"{path.name} is not signed by the coordinator this site enrolled with",
            hint="do not approve it; ask the coordinator over another channel",
        )
    return plan
