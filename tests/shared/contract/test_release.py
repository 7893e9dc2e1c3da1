"""A release and its lock: whole, signed, of one plan."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from practice_site import coordinator_key, make_plan, site_key

from shared.contract.decision import decision_of
from shared.contract.plan import Plan, write_plan
from shared.contract.release import (
    ReleaseRecord,
    lock_release,
    read_lock,
    read_release,
    write_lock,
    write_release,
)
from shared.errors import OsteoFedError, WeightsError
from shared.machine.hours import MOST_DAYS
from shared.signing.canonical import hash_of, sha256_hex
from shared.signing.code_hash import installed_code_hash

ENCODER = b"frozen weights"
WEIGHTS = np.arange(5, dtype="<f4")
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@dataclass
class Made:
    home: Path
    folder: Path
    plan: Plan
    record: ReleaseRecord

    @property
    def key(self) -> str:
        return self.plan.coordinator_key

    def write(self, record: ReleaseRecord) -> None:
        write_release(
            self.folder,
            record,
            WEIGHTS,
            plan_file=self.home / "plan.json",
            key=coordinator_key(self.home),
            encoders={"encoder.safetensors": self.home / "encoder"},
        )


@pytest.fixture
def made(tmp_path: Path) -> Made:
    (tmp_path / "encoder").write_bytes(ENCODER)
    plan = make_plan(tmp_path, encoder__sha256=sha256_hex(ENCODER))
    write_plan(tmp_path / "plan.json", plan, coordinator_key(tmp_path))
    record = ReleaseRecord(
        run=plan.run,
        plan_sha256=plan.sha256,
        weights_sha256=sha256_hex(WEIGHTS.tobytes()),
        layout_sha256=plan.layout_sha256,
        encoder_sha256=plan.encoder_sha256,
        preprocessing="1",
        decision=decision_of(plan.settings),
        code_sha256="c" * 64,
        ledger_heads={"north": "ab"},
        rounds=10,
    )
    release = Made(tmp_path, tmp_path / "release", plan, record)
    release.write(record)
    return release


def code_of(made: Made, key: str | None = None) -> str:
    with pytest.raises(OsteoFedError) as caught:
        read_release(made.folder, coordinator_key=key or made.key)
    return caught.value.code


def test_a_release_is_read_back_and_named_by_the_hash_of_its_record(made: Made) -> None:
    found = read_release(made.folder, coordinator_key=made.key)
    assert found.plan == made.plan
    assert found.weights.tolist() == [0, 1, 2, 3, 4]
    assert found.sha256 == hash_of(json.loads(made.record.model_dump_json()))


@pytest.mark.parametrize("name", ["weights_sha256", "layout_sha256", "plan_sha256", "encoder_sha256"])
def test_parts_of_two_releases_are_refused_though_truly_signed(made: Made, name: str) -> None:
    made.write(made.record.model_copy(update={name: "9" * 64}))
    assert code_of(made) == "weights.mixed-release"


def test_a_release_of_an_older_format_is_refused_with_its_reason(made: Made) -> None:
    path = made.folder / "release.json"
    signed = json.loads(path.read_bytes())
    signed["content"]["version"] = 1
    del signed["content"]["decision"]
    path.write_text(json.dumps(signed))
    with pytest.raises(OsteoFedError, match="has format 1, this code reads format 3") as caught:
        read_release(made.folder, coordinator_key=made.key)
    assert caught.value.code == "weights.other-format"


def test_a_release_brings_its_encoder_and_refuses_another_or_none(made: Made) -> None:
    file = read_release(made.folder, coordinator_key=made.key).encoder_file
    assert file is not None
    assert file.read_bytes() == ENCODER
    file.write_bytes(ENCODER + b".")
    assert code_of(made) == "weights.wrong-encoder"
    file.unlink()
    assert code_of(made) == "weights.wrong-encoder"


def test_a_release_whose_rule_is_not_its_plans_is_refused(made: Made) -> None:
    cuts = (0.5, *made.record.decision.output_cuts[1:])
    other = made.record.decision.model_copy(update={"output_cuts": cuts})
    made.write(made.record.model_copy(update={"decision": other}))
    assert code_of(made) == "weights.mixed-release"


def test_a_release_of_another_coordinator_is_refused(made: Made) -> None:
    assert code_of(made, site_key(made.home).public_hex) == "weights.bad-signature"


def test_a_record_changed_after_it_was_signed_is_refused(made: Made) -> None:
    path = made.folder / "release.json"
    signed = json.loads(path.read_bytes())
    signed["content"]["rounds"] = 11
    path.write_text(json.dumps(signed))
    assert code_of(made) == "weights.bad-signature"


@pytest.mark.parametrize("name", ["release.json", "weights.npy"])
def test_a_release_with_a_part_missing_is_unreadable(made: Made, name: str) -> None:
    (made.folder / name).unlink()
    assert code_of(made) == "weights.unreadable"


def test_pickled_weights_are_never_opened(made: Made) -> None:
    np.save(made.folder / "weights.npy", np.array([{}], dtype=object))
    assert code_of(made) == "weights.unreadable"


def test_a_lock_fixes_weights_rule_threshold_time_and_the_day_of_the_answer(made: Made) -> None:
    release = read_release(made.folder, coordinator_key=made.key)
    settings = made.plan.settings
    lock = lock_release(release, made.plan, now=NOW, days=30)
    assert lock.release_sha256 == release.sha256
    assert lock.weights_sha256 == made.record.weights_sha256
    assert lock.plan_sha256 == made.plan.sha256
    assert lock.code_sha256 == installed_code_hash()
    assert lock.endpoint_threshold == settings.task.endpoint_threshold
    assert (lock.locked_utc, lock.days) == (NOW, 30)
    assert lock.answered_from(NOW.isoformat()) == (NOW + timedelta(days=30)).date()
    late = NOW + timedelta(days=7)  # who accepts it later gathers as long
    assert lock.answered_from(late.isoformat()) == (NOW + timedelta(days=37)).date()
    for days in (0, MOST_DAYS + 1):
        with pytest.raises(ValueError, match="days"):
            lock_release(release, made.plan, now=NOW, days=days)
    path = made.home / "lock.json"
    write_lock(path, lock, coordinator_key(made.home))
    assert read_lock(path, coordinator_key=made.key) == lock
    signed = json.loads(path.read_bytes())
    signed["content"]["locked_utc"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(signed))
    with pytest.raises(WeightsError) as caught:
        read_lock(path, coordinator_key=made.key)
    assert caught.value.code == "weights.bad-signature"


def test_another_label_rule_is_another_lock(made: Made) -> None:
    release = read_release(made.folder, coordinator_key=made.key)
    lock = lock_release(release, made.plan, now=NOW, days=30)
    label = made.plan.settings.cohort.label
    assert lock.label_rule_sha256 == hash_of(label.model_dump(mode="json"))
    moved = label.model_copy(update={"reference_mean": label.reference_mean + 0.1})
    assert lock.label_rule_sha256 != hash_of(moved.model_dump(mode="json"))
