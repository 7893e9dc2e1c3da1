"""The plan: resolved settings, roster and predicted privacy cost, hashed and signed before a run.

Every message of a run carries the plan's hash; a site acts only on a plan that a named person there
approved. The format is versioned and unknown versions are refused. Imports settings, keys, canonical.
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from shared.contract.contradictions import split_contradictions
from shared.contract.settings import PlanSettings
from shared.contract.stages import (
    GradientStage,
    MeasureStage,
    PatientGroup,
    Role,
    Stage,
    TableStage,
    TrainingStage,
)
from shared.errors import PlanError
from shared.machine.files import write_atomic
from shared.signing.canonical import canonical_json, sha256_hex
from shared.signing.keys import SigningKey, verify
from shared.strict import FROZEN, list_mistakes, refuse_contradictions, require_printable

# 4: a plan may measure the release of an earlier run.
PLAN_VERSION: Final = 4
RUN_NAME = "^[a-z0-9][a-z0-9-]{2,60}$"
HASH = "^[0-9a-f]{64}$"
ENCODER_FILE = "encoder.safetensors"
HASH_OR_NONE = "^([0-9a-f]{64})?$"
# As many digits of a hash as a person types to say which plan was read.
CODE_LENGTH = 8


class RosterEntry(BaseModel):
    """One site of a run.

    Attributes:
        site: the site's name.
        role: ``training``, or ``external``: it never trains and is measured on.
        is_required: whether the run is complete only with this site's results.
        public_key: under which it signs.
        declared_patients: a size bucket that the hospital publishes; the divisor B of the noised sum
            and the aggregation weight come from it, never from the cohort's true size.
        weight: share in the aggregation; 0 for external sites.
    """

    model_config = FROZEN

    site: str = Field(pattern="^[a-z][a-z0-9-]{1,40}$")
    role: Role
    is_required: bool = True
    public_key: str = Field(pattern=HASH)
    declared_patients: int = Field(ge=1)
    weight: float = Field(ge=0, le=1)


class SplitCost(BaseModel):
    """What a run costs a patient of a group at sites of a role: all stages that touch the same people.

    Attributes:
        role: of the sites.
        patients: the group.
        epsilon: of all these stages together; null: some stage promises nothing formal.
    """

    model_config = FROZEN

    role: Role
    patients: PatientGroup
    epsilon: float | None


class PredictedCost(BaseModel):
    """What a run will cost a patient, known before it starts.

    ``splits`` is what matters; the three others price one purpose alone, for people to read. Of
    training and description, 0 says that the plan has no such stage. Null: no formal guarantee.

    Attributes:
        unit: whom the guarantee is for.
        adjacency: which two cohorts are told apart.
        mechanism: what was noised, in words.
        accountant: what added the costs up.
        delta: δ of every ε here.
        splits: cost by role and group of patients.
        training_epsilon: of training alone.
        validation_epsilon: of a validation alone.
        description_epsilon: of the description alone.
    """

    model_config = FROZEN

    unit: Literal["patient"] = "patient"
    adjacency: Literal["add/remove"] = "add/remove"
    mechanism: str
    accountant: str
    delta: float
    splits: tuple[SplitCost, ...]
    training_epsilon: float | None
    validation_epsilon: float | None
    description_epsilon: float | None

    def dearest(self, role: Role) -> float | None:
        """ε of the dearest patient at sites of a role; None where one is promised nothing formal."""
        costs = [split.epsilon for split in self.splits if split.role == role]
        known = [epsilon for epsilon in costs if epsilon is not None]
        return max(known, default=0.0) if len(known) == len(costs) else None


class MeasuredRelease(BaseModel):
    """The release of an earlier run that a plan measures, and the stage that trained it, by value.

    Attributes:
        run: that made it.
        plan_sha256: hash of that run's plan.
        release_sha256: hash of the release.
        weights_sha256: hash of its weights.
        trained: the stage that trained it.
    """

    model_config = FROZEN

    run: str = Field(pattern=RUN_NAME)
    plan_sha256: str = Field(pattern=HASH)
    release_sha256: str = Field(pattern=HASH)
    weights_sha256: str = Field(pattern=HASH)
    trained: TrainingStage = Field(discriminator="kind")


class Plan(BaseModel):
    """All that matters to privacy or to the result of one run, by value.

    Attributes:
        version: of this file's format.
        run: the run's name.
        written_utc: when it was written.
        settings: what all stages share.
        stages: in the order in which they are played.
        roster: the sites.
        coordinator_key: under which the coordinator signs.
        code_sha256: hash of the code that every side must have installed.
        encoder_sha256: hash of the encoder's file; empty without one.
        initial_weights_sha256: hash of the state that training starts from; empty in a validation plan.
        layout_sha256: hash of the names and shapes of the trainable weights.
        predicted: what it costs a patient; a site computes it again.
        release: what a validation plan measures; such a plan trains nothing and starts from nothing,
            and its ``training`` sites are those that trained the release. Or what a local plan goes on
            from: one site's own, by gradients, whose weights stay there.
        valid_until: the last day, in UTC, on which it may be approved and answered; null: any day.
    """

    model_config = FROZEN

    version: Literal[4] = PLAN_VERSION
    run: str = Field(pattern=RUN_NAME)
    written_utc: str
    settings: PlanSettings
    stages: tuple[Stage, ...] = Field(min_length=1)
    roster: tuple[RosterEntry, ...] = Field(min_length=1)
    coordinator_key: str = Field(pattern=HASH)
    code_sha256: str = Field(pattern=HASH)
    encoder_sha256: str = Field(pattern=HASH_OR_NONE)
    initial_weights_sha256: str = Field(pattern=HASH_OR_NONE)
    layout_sha256: str = Field(pattern=HASH)
    predicted: PredictedCost
    release: MeasuredRelease | None = None
    valid_until: date | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_printable(cls, values: object) -> object:
        return require_printable(values)

    @model_serializer(mode="wrap")
    def _without_an_open_end(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        # a plan of before, when there was no end, keeps its hash
        return {
            name: value
            for name, value in write(self).items()
            if name != "valid_until" or value is not None
        }

    @model_validator(mode="after")
    def _names_one_encoder(self) -> Plan:
        if self.encoder_sha256 != self.settings.encoder.sha256:
            raise ValueError("encoder_sha256 must be the settings' encoder.sha256")
        return self

    @model_validator(mode="after")
    def _trains_or_measures_a_release(self) -> Plan:
        if self.is_local:
            return self._goes_on_from_a_release()
        if (self.release is not None) != (not self.initial_weights_sha256):
            raise ValueError("initial_weights_sha256 must be empty in a validation plan and only there")
        return self

    def _goes_on_from_a_release(self) -> Plan:
        keys = [entry.public_key for entry in self.roster]
        if self.training is None or keys != [self.coordinator_key]:
            raise ValueError(
                "a plan that trains the release of an earlier run further must be by gradients, of one "
                "site, which signs it itself"
            )
        if self.release is None or self.initial_weights_sha256 != self.release.weights_sha256:
            raise ValueError("initial_weights_sha256 of a local plan must be the release's weights")
        return self

    @model_validator(mode="after")
    def _split_suits_the_stages(self) -> Plan:
        is_private = any(stage.release_class == "dp" for stage in self.stages)
        refuse_contradictions(split_contradictions(self.settings.cohort, is_private=is_private))
        return self

    @model_validator(mode="after")
    def _stages_and_sites_differ_in_name(self) -> Plan:
        stages, sites = [each.name for each in self.stages], [each.site for each in self.roster]
        for what, names in (("stages", stages), ("sites of the roster", sites)):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} must differ in name, not {names}")
        return self

    @cached_property
    def sha256(self) -> str:
        """The plan's identity: SHA-256 of its canonical JSON."""
        return sha256_hex(self.canonical())

    def canonical(self) -> bytes:
        """Canonical JSON bytes, the ones that are hashed and signed."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def short_code(self) -> str:
        """What a person types who approves the plan: the first digits of its hash."""
        return self.sha256[:CODE_LENGTH]

    def require_valid(self, now: datetime) -> None:
        """Refuse a plan after its last day.

        Raises:
            PlanError: its last day is over.
        """
        if self.valid_until is not None and now.astimezone(UTC).date() > self.valid_until:
            raise PlanError(
                "expired",
                f"plan {self.sha256[:12]} was valid until {self.valid_until.isoformat()}",
                hint="ask the coordinator for a new plan; what was charged stays charged",
            )

    @property
    def encoder_places(self) -> dict[str, str]:
        """Where a run and a release keep each encoder's file, by its hash; the own one first."""
        return {
            each.sha256: ENCODER_FILE
            if each.sha256 == self.encoder_sha256
            else f"encoders/{each.sha256}.safetensors"
            for each in self.settings.encoders
        }

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

    def stage(self, name: str) -> Stage:
        """The stage of a name.

        Raises:
            PlanError: the plan has none of that name.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise PlanError(
            "no-such-stage",
            f"the plan has stages {[stage.name for stage in self.stages]}, not {name}",
            hint="write a plan that has this stage, or name one of these",
        )

    @property
    def training(self) -> GradientStage | None:
        """The stage that trains the release's weights by gradients; None where nothing does."""
        for stage in self.stages:
            if isinstance(stage, GradientStage):
                return stage
        return None

    @property
    def trained(self) -> TrainingStage | None:
        """The stage whose last state is the release; None in a plan that only measures."""
        for stage in self.stages:
            if isinstance(stage, TrainingStage):
                return stage
        return None

    @property
    def is_local(self) -> bool:
        """Whether a site trains a release further by itself: such weights never leave it."""
        return self.release is not None and self.trained is not None

    def read_by(self, stage: MeasureStage | TableStage) -> Stage:
        """The stage whose last state another one measures: of this plan, or of the release's.

        Raises:
            PlanError: there is none of that name.
        """
        if self.release is not None and stage.reads == self.release.trained.name:
            return self.release.trained
        return self.stage(stage.reads)

    @property
    def measures(self) -> tuple[MeasureStage, ...]:
        """The stages with further measures of a release, in the plan's order."""
        return tuple(stage for stage in self.stages if isinstance(stage, MeasureStage))

    @property
    def tables(self) -> tuple[TableStage, ...]:
        """The stages that measure a release, in the plan's order."""
        return tuple(stage for stage in self.stages if isinstance(stage, TableStage))

    @property
    def measured_now(self) -> tuple[Stage, ...]:
        """The stages besides training that ask somebody, of patients who are there before a lock."""
        return tuple(
            stage
            for stage in self.stages
            if not isinstance(stage, TrainingStage)
            and stage.patients != "accrued"
            and self.asked(stage)
        )

    def asked(self, stage: Stage) -> tuple[RosterEntry, ...]:
        """Roster entries that a stage asks, in roster order."""
        return tuple(entry for entry in self.roster if entry.role in stage.roles)

    def sites(self, role: Role) -> tuple[RosterEntry, ...]:
        """Roster entries of a role, in roster order."""
        return tuple(entry for entry in self.roster if entry.role == role)


def write_plan(path: Path, plan: Plan, key: SigningKey) -> None:
    """Write ``plan`` with its hash and the coordinator's signature."""
    write_atomic(path, json.dumps(envelope_of(plan, key), indent=1).encode())


def envelope_of(plan: Plan, key: SigningKey) -> dict[str, object]:
    """What a plan's file holds: the plan, its hash, the coordinator's signature."""
    return {
        "sha256": plan.sha256,
        "signature": key.sign(plan.canonical()),
        "plan": plan.model_dump(mode="json"),
    }


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
    except (OSError, ValueError) as error:
        raise _unreadable(path.name, error) from None
    return plan_of(envelope, named=path.name, coordinator_key=coordinator_key)


def plan_of(envelope: Any, *, named: str, coordinator_key: str | None = None) -> Plan:
    """The plan of an envelope, its hash and signature checked; raises as ``read_plan``.

    Args:
        envelope: as of ``envelope_of``, read from JSON.
        named: what it is called in an error.
        coordinator_key: as of ``read_plan``.
    """
    try:
        content = envelope["plan"]
        if content.get("version") != PLAN_VERSION:
            raise PlanError(
                "unknown-version",
                f"plan version must be {PLAN_VERSION}, not {content.get('version')!r}",
                hint="install the release of OsteoFed that wrote this plan",
            )
        plan = Plan.model_validate(content)
    except ValidationError as error:
        raise PlanError(
            "not-valid",
            f"{named} is not a valid plan:\n" + "\n".join(list_mistakes(error, whole="plan")),
            hint="do not approve it; ask the coordinator for another one",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(named, error) from None
    signer = coordinator_key or plan.coordinator_key
    if plan.coordinator_key != signer or envelope.get("sha256") != plan.sha256:
        raise PlanError(
            "changed",
            f"{named} differs from what its hash or its coordinator says",
            hint="do not approve it; fetch the plan again",
        )
    if not verify(signer, plan.canonical(), str(envelope.get("signature"))):
        raise PlanError(
            "bad-signature",
            f"{named} is not signed by the coordinator this site enrolled with",
            hint="do not approve it; ask the coordinator over another channel",
        )
    return plan


def _unreadable(named: str, error: Exception) -> PlanError:
    return PlanError(
        "unreadable",
        f"{named} is not a plan: {type(error).__name__}",
        hint="ask the coordinator for the file that `osteofed-coordinator plan` wrote",
    )
