"""A sweep: several plans in one order, with what they cost a patient together, under one signature.

Trying many models on the same patients costs as all of them. A hospital reads and decides about the
whole at once; afterwards each arm is an ordinary run. Imports the plan, canonical JSON and keys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from shared.contract.plan import (
    CODE_LENGTH,
    HASH,
    RUN_NAME,
    Plan,
    PredictedCost,
    envelope_of,
    plan_of,
)
from shared.errors import PlanError
from shared.machine.files import write_atomic
from shared.signing.canonical import canonical_json, sha256_hex
from shared.signing.keys import SigningKey, verify
from shared.strict import FROZEN, list_mistakes, require_printable

SWEEP_VERSION: Final = 1
ARM_NAME = "^[a-z0-9][a-z0-9-]{0,30}$"
# What the arms of a sweep must share: who is asked, about which patients, what is predicted.
_SHARED = ("cohort", "task", "delta", "engine")


class SweepArm(BaseModel):
    """One arm.

    Attributes:
        name: of the arm.
        run: the run that plays it.
        plan_sha256: hash of that run's plan.
    """

    model_config = FROZEN

    name: str = Field(pattern=ARM_NAME)
    run: str = Field(pattern=RUN_NAME)
    plan_sha256: str = Field(pattern=HASH)


class Sweep(BaseModel):
    """What a coordinator signs of a sweep.

    Attributes:
        version: of this file's format.
        name: of the sweep.
        written_utc: when it was written.
        arms: in the order in which they are played.
        predicted: what all arms together cost a patient; a site computes it again.
        coordinator_key: under which the coordinator signs.
    """

    model_config = FROZEN

    version: Literal[1] = SWEEP_VERSION
    name: str = Field(pattern=RUN_NAME)
    written_utc: str
    arms: tuple[SweepArm, ...] = Field(min_length=2)
    predicted: PredictedCost
    coordinator_key: str = Field(pattern=HASH)

    @model_validator(mode="before")
    @classmethod
    def _is_printable(cls, values: object) -> object:
        return require_printable(values)

    @property
    def short_code(self) -> str:
        """What a person types who approves the sweep: the first digits of its hash."""
        return self.sha256[:CODE_LENGTH]

    @cached_property
    def sha256(self) -> str:
        """The sweep's identity: SHA-256 of its canonical JSON."""
        return sha256_hex(self.canonical())

    def canonical(self) -> bytes:
        """Canonical JSON bytes, the ones that are hashed and signed."""
        return canonical_json(self.model_dump(mode="json"))


@dataclass(frozen=True)
class SignedSweep:
    """A sweep and the plans of its arms, in their order."""

    sweep: Sweep
    plans: tuple[Plan, ...]

    @property
    def arms(self) -> Iterator[tuple[SweepArm, Plan]]:
        """Each arm with its plan."""
        return zip(self.sweep.arms, self.plans, strict=True)


def require_one_question(plans: Sequence[Plan]) -> None:
    """Refuse plans that no sweep can hold: their costs would not add up over the same patients.

    Raises:
        PlanError: with everything in which the plans differ.
    """
    first = plans[0]
    problems = [
        f"settings.{name}"
        for name in _SHARED
        if any(getattr(plan.settings, name) != getattr(first.settings, name) for plan in plans)
    ]
    problems += ["roster"] if any(plan.roster != first.roster for plan in plans) else []
    if any(plan.release is not None for plan in plans):
        problems.append("release: an arm trains its own")
    if len({plan.run for plan in plans}) < len(plans):
        problems.append("run: two arms have one name")
    if problems:
        raise PlanError(
            "arms-differ",
            "arms of a sweep must ask the same sites about the same patients and endpoint; "
            f"they differ in {', '.join(problems)}",
            hint="an arm names a model: its encoder, fusion, learner or schedule",
        )


def write_sweep(path: Path, signed: SignedSweep, key: SigningKey) -> None:
    """Write a sweep with its hash and signature, and each arm's plan with its own."""
    envelope = {
        "sha256": signed.sweep.sha256,
        "signature": key.sign(signed.sweep.canonical()),
        "sweep": signed.sweep.model_dump(mode="json"),
        "plans": [envelope_of(plan, key) for plan in signed.plans],
    }
    write_atomic(path, json.dumps(envelope, indent=1).encode())


def is_sweep(path: Path) -> bool:
    """Whether a file claims to be a sweep, not a plan; ``read_sweep`` checks it."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "sweep" in content


def read_sweep(path: Path, *, coordinator_key: str | None = None) -> SignedSweep:
    """Read a sweep and check hashes, signatures, and that its plans are those it names, in order.

    Args:
        path: file written by ``write_sweep``.
        coordinator_key: the key that must have signed; None trusts the key named in the sweep, which
            only the coordinator itself may do.

    Raises:
        PlanError: damaged, of an unknown version, changed, signed by somebody else, or its arms do not
            ask one question.
    """
    try:
        envelope: Mapping[str, Any] = json.loads(path.read_bytes())
        content, written = envelope["sweep"], list(envelope["plans"])
        if content.get("version") != SWEEP_VERSION:
            raise PlanError(
                "unknown-version",
                f"sweep version must be {SWEEP_VERSION}, not {content.get('version')!r}",
                hint="install the release of OsteoFed that wrote this sweep",
            )
        sweep = Sweep.model_validate(content)
    except ValidationError as error:
        raise PlanError(
            "not-valid",
            f"{path.name} is not a valid sweep:\n" + "\n".join(list_mistakes(error, whole="sweep")),
            hint="do not approve it; ask the coordinator for another one",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlanError(
            "unreadable",
            f"{path.name} is not a sweep: {type(error).__name__}",
            hint="ask the coordinator for the file that `osteofed-coordinator sweep plan` wrote",
        ) from None
    signer = coordinator_key or sweep.coordinator_key
    if not verify(signer, sweep.canonical(), str(envelope.get("signature"))):
        raise PlanError(
            "bad-signature",
            f"{path.name} is not signed by the coordinator this site enrolled with",
            hint="do not approve it; ask the coordinator over another channel",
        )
    plans = tuple(plan_of(each, named=path.name, coordinator_key=signer) for each in written)
    found = [(plan.run, plan.sha256) for plan in plans]
    if found != [(arm.run, arm.plan_sha256) for arm in sweep.arms]:
        raise PlanError(
            "changed",
            f"{path.name} holds other plans than its sweep names, or in another order",
            hint="do not approve it; fetch the sweep again",
        )
    require_one_question(plans)
    return SignedSweep(sweep, plans)
