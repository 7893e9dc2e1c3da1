"""A release: frozen weights with the plan they came from; and the lock that freezes one.

::

    <release>/release.json          what it is, signed by the coordinator
    <release>/weights.npy           [p], little-endian: weights, float32; a learner's state, float64
    <release>/plan.json             the signed plan: architecture, preprocessing, thresholds, by value
    <release>/encoder.safetensors   the encoder's file, where the plan names one
    <release>/encoders/             files of the encoders that its features name, by hash
    <release>/validation.json       what validations said, once there are some (``validation_summary``)

A release is self-contained: a hospital that was on no roster reads with it. A lock is a signed,
time-stamped record. Prospective validation uses only exams acquired after it. Imports plan, keys,
canonical, files.
"""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from pydantic import (
    AwareDatetime,
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from shared.contract.decision import Decision, decision_of
from shared.contract.plan import ENCODER_FILE, Plan, read_plan
from shared.errors import WeightsError
from shared.machine.files import write_atomic
from shared.machine.hours import MOST_DAYS
from shared.signing.canonical import canonical_json, hash_file, hash_of, sha256_hex
from shared.signing.code_hash import installed_code_hash
from shared.signing.keys import SigningKey, verify
from shared.strict import FROZEN

Record = TypeVar("Record", bound=BaseModel)
HASH = Field(pattern="^[0-9a-f]{64}$")


class ReleaseRecord(BaseModel):
    """What was released, from which plan, and by which rule its outputs are read.

    Attributes:
        version: of this file's format.
        run: that made it.
        plan_sha256: hash of the run's plan.
        weights_sha256: hash of the weights.
        layout_sha256: hash of the names and shapes of the weights.
        encoder_sha256: hash of the encoder's file; empty without one.
        preprocessing: how films were prepared.
        decision: from an output to a class.
        code_sha256: hash of the code.
        ledger_heads: each site's ledger head when the release was made.
        rounds: that were trained.
        dropped: sites that a person dropped from the run by a signed amendment, with the reason; left
            out where there are none, so that releases of before keep their hash.
    """

    model_config = FROZEN

    # 3: with the encoder's file.
    version: Literal[3] = 3
    run: str
    plan_sha256: str = HASH
    weights_sha256: str = HASH
    layout_sha256: str = HASH
    encoder_sha256: str
    preprocessing: str
    decision: Decision
    code_sha256: str = HASH
    ledger_heads: dict[str, str]
    rounds: int = Field(ge=1)
    dropped: dict[str, str] = {}

    @model_serializer(mode="wrap")
    def _without_nobody(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {name: value for name, value in write(self).items() if name != "dropped" or value}

    @property
    def sha256(self) -> str:
        """The release's identity."""
        return hash_of(self.model_dump(mode="json"))


class Lock(BaseModel):
    """Freezes a release for prospective validation: what is measured, by which rule, from when on.

    Attributes:
        version: of this file's format.
        release_sha256: hash of the release.
        plan_sha256: hash of the run's plan.
        weights_sha256: hash of the weights.
        code_sha256: hash of the code.
        label_rule_sha256: hash of the rule that makes labels.
        endpoint: the positive class.
        endpoint_threshold: who is positive, of a number; null of classes.
        days: from the cut on, until a site answers; whoever came is asked about then, nobody before.
        locked_utc: when it was locked.
        ledger_heads: each site's last ledger head that the coordinator had seen; a site accepts the
            lock behind it in its chain.
    """

    model_config = FROZEN

    # 2: with the heads of ledgers; 3: with days in place of a number of patients.
    version: Literal[3] = 3
    release_sha256: str = HASH
    plan_sha256: str = HASH
    weights_sha256: str = HASH
    code_sha256: str = HASH
    label_rule_sha256: str = HASH
    endpoint: str
    endpoint_threshold: float | None
    days: int = Field(ge=1, le=MOST_DAYS)
    locked_utc: AwareDatetime
    ledger_heads: dict[str, str] = {}

    @property
    def sha256(self) -> str:
        """The lock's identity."""
        return hash_of(self.model_dump(mode="json"))

    def cut(self, accepted_utc: str) -> datetime:
        """Only what was acquired after this day counts: the later of the lock and its acceptance.

        A lock tells its own time; a site believes it no earlier than a person there has read it.
        """
        return max(self.locked_utc, datetime.fromisoformat(accepted_utc))

    def answered_from(self, accepted_utc: str) -> date:
        """The first day, in UTC, on which a site answers: of days alone, whoever has come or not."""
        return self.cut(accepted_utc).astimezone(UTC).date() + timedelta(days=self.days)


@dataclass(frozen=True)
class Release:
    """A release read back and verified: record, plan, weights [p], and encoder files by their hash."""

    record: ReleaseRecord
    plan: Plan
    weights: np.ndarray
    encoders: Mapping[str, Path] = dataclasses.field(default_factory=dict)

    @property
    def encoder_file(self) -> Path | None:
        """The file of the run's own encoder, if any."""
        return self.encoders.get(self.plan.encoder_sha256)

    @property
    def sha256(self) -> str:
        """The release's identity."""
        return self.record.sha256


def write_release(
    folder: Path,
    record: ReleaseRecord,
    weights: np.ndarray,
    *,
    plan_file: Path,
    key: SigningKey,
    encoders: Mapping[str, Path] | None = None,
) -> None:
    """Write a release folder, record last, so that a folder with a record is whole.

    ``encoders``: files by the place that the plan gives them (``Plan.encoder_places``).
    """
    for place, file in (encoders or {}).items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / place)
    buffer = io.BytesIO()
    np.save(buffer, weights)
    write_atomic(folder / "weights.npy", buffer.getvalue())
    write_atomic(folder / "plan.json", plan_file.read_bytes())
    write_signed(folder / "release.json", record, key)


def read_release(folder: Path, *, coordinator_key: str) -> Release:
    """Read a release and check signature, plan, weights and encoders.

    Raises:
        WeightsError: damaged, not signed by the coordinator, or parts of different releases.
        PlanError: its plan is damaged or not the coordinator's.
    """
    record = read_signed(folder / "release.json", ReleaseRecord, coordinator_key)
    plan = read_plan(folder / "plan.json", coordinator_key=coordinator_key)
    try:
        weights = np.load(folder / "weights.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _unreadable(folder / "weights.npy", error) from None
    is_whole = (
        plan.sha256 == record.plan_sha256
        and plan.layout_sha256 == record.layout_sha256
        and plan.encoder_sha256 == record.encoder_sha256
        and sha256_hex(weights.tobytes()) == record.weights_sha256
        and decision_of(plan.settings) == record.decision
    )
    if not is_whole:
        raise WeightsError(
            "mixed-release",
            f"{folder.name} holds parts that do not belong together",
            hint="copy the whole release folder again",
        )
    encoders = {
        sha256: _encoder_file(folder / place, sha256, folder)
        for sha256, place in plan.encoder_places.items()
    }
    return Release(record=record, plan=plan, weights=weights, encoders=encoders)


def copy_release(folder: Path, into: Path) -> None:
    """Copy a release's own files, record last; lock and summary stay with the run they are of.

    Raises:
        WeightsError: a file is missing.
    """
    into.mkdir(parents=True, exist_ok=True)
    held = [path for path in (folder / ENCODER_FILE, *folder.glob("encoders/*")) if path.exists()]
    encoders = [str(path.relative_to(folder)) for path in held]
    for name in ("weights.npy", "plan.json", *encoders, "release.json"):
        try:
            (into / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, into / name)
        except OSError as error:
            raise _unreadable(folder / name, error) from None


def lock_release(
    release: Release,
    plan: Plan,
    *,
    now: datetime,
    days: int,
    ledger_heads: Mapping[str, str] | None = None,
) -> Lock:
    """The lock of a release: weights, label rule, threshold, day of the answer, fixed from ``now`` on.

    Args:
        release: what is frozen.
        plan: under which it will be measured: the release's own, or a validation plan of it.
        now: the coordinator's clock.
        days: as of a lock.
        ledger_heads: each site's last one that the coordinator has seen.
    """
    settings = plan.settings
    return Lock(
        release_sha256=release.sha256,
        plan_sha256=plan.sha256,
        weights_sha256=release.record.weights_sha256,
        code_sha256=installed_code_hash(),
        label_rule_sha256=hash_of(settings.cohort.label.model_dump(mode="json")),
        endpoint=settings.task.endpoint,
        endpoint_threshold=settings.task.endpoint_threshold
        if settings.task.kind == "regression"
        else None,
        days=days,
        locked_utc=now,
        ledger_heads=dict(ledger_heads or {}),
    )


def write_lock(path: Path, lock: Lock, key: SigningKey) -> None:
    """Write a signed lock."""
    write_signed(path, lock, key)


def read_lock(path: Path, *, coordinator_key: str) -> Lock:
    """Read a lock and check its signature.

    Raises:
        WeightsError: damaged or not signed by the coordinator.
    """
    return read_signed(path, Lock, coordinator_key)


def _encoder_file(path: Path, sha256: str, folder: Path) -> Path:
    """An encoder's file of a release, which must be the one that its plan names."""
    found = "holds another encoder than the one" if path.exists() else "lacks the encoder"
    if not path.exists() or hash_file(path) != sha256:
        raise WeightsError(
            "wrong-encoder",
            f"{folder.name} {found} that the release names",
            hint="copy the whole release folder again",
        )
    return path


def write_signed(path: Path, record: BaseModel, key: SigningKey) -> None:
    """Write a record with the signature over its canonical JSON."""
    content = record.model_dump(mode="json")
    signed = {"content": content, "signature": key.sign(canonical_json(content))}
    write_atomic(path, json.dumps(signed, indent=1).encode())


def read_signed(path: Path, kind: type[Record], coordinator_key: str) -> Record:
    """Read a record written by ``write_signed``; ``kind`` has a ``version`` with its default.

    Raises:
        WeightsError: damaged, of another format, or not signed by the coordinator.
    """
    try:
        signed = json.loads(path.read_bytes())
        content, signature = signed["content"], str(signed["signature"])
        _require_version(path, kind, content["version"])
        record = kind.model_validate(content)
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise _unreadable(path, error) from None
    if not verify(coordinator_key, canonical_json(content), signature):
        raise WeightsError(
            "bad-signature",
            f"{path.name} is not signed by the coordinator this site enrolled with",
            hint="do not use it; ask the coordinator over another channel",
        )
    return record


def _require_version(path: Path, kind: type[BaseModel], found: object) -> None:
    known = kind.model_fields["version"].default
    if found != known:
        raise WeightsError(
            "other-format",
            f"{path.name} has format {found}, this code reads format {known}",
            hint="read it with the version that wrote it, or let the coordinator make it again",
        )


def _unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        "unreadable",
        f"{path.name} cannot be read: {type(error).__name__}",
        hint="name a release's folder, or a lock.json, that the coordinator made",
    )
