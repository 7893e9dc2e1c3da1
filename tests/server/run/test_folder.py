"""The run folder: what is whole, what is refused, what survives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest
from practice_federation import P

from server.run.folder import Event, RunStore, open_run, prepare_run
from server.run.stage_folder import RoundState
from shared.errors import PlanError, RunError
from shared.stages.stage_sum import StageState


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return practice.found_federation(tmp_path)[0]


def test_a_prepared_run_starts_at_its_initial_weights(store: RunStore) -> None:
    state = open_run(store.folder).training.last_committed()
    assert state.round == 0
    np.testing.assert_array_equal(state.vector, np.zeros(P, "<f4"))


def test_preparing_a_run_twice_changes_nothing(store: RunStore) -> None:
    store.training.commit(RoundState(state=StageState(round=1, vector=np.ones(P, "<f4"))))
    again = prepare_run(store.folder, initial_state=np.zeros(P, "<f4"))
    assert again.training.last_committed().round == 1


def test_initial_weights_that_are_not_the_plan_s_are_refused(store: RunStore) -> None:
    (store.folder / "run.json").unlink()
    with pytest.raises(RunError) as caught:
        prepare_run(store.folder, initial_state=np.ones(P, "<f4"))
    assert caught.value.code == "run.wrong-weights"


@pytest.mark.parametrize("given", [None, b"another"])
def test_a_run_does_not_begin_without_the_encoder_that_its_plan_names(
    tmp_path: Path, given: bytes | None
) -> None:
    store, _ = practice.found_federation(tmp_path, encoder=b"the encoder")
    (store.folder / "run.json").unlink()
    file = tmp_path / "given.bin"
    if given is not None:
        file.write_bytes(given)
    files = [file] if file.exists() else []
    with pytest.raises(RunError) as caught:
        prepare_run(store.folder, initial_state=np.zeros(P, "<f4"), encoders=files)
    assert caught.value.code == "run.wrong-encoder"
    assert not (store.folder / "run.json").exists()


@pytest.mark.parametrize("version", [1, 3, "2", None])
@pytest.mark.parametrize("file", ["run.json", "rounds/train/0000/state.json"])
def test_an_unknown_format_version_is_refused(store: RunStore, file: str, version: object) -> None:
    path = store.folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
    with pytest.raises(RunError) as caught:
        open_run(store.folder).training.last_committed()
    assert caught.value.code == "run.unknown-version"
    assert f"format version must be 2, not {version!r}" in caught.value.fact
    assert caught.value.hint


def test_a_run_folder_of_the_first_version_is_refused_with_its_reason(store: RunStore) -> None:
    """As it lay on disk: rounds without a stage's name, and a plan of version 2."""
    rounds = store.folder / "rounds"
    for entry in (rounds / "train").iterdir():
        entry.rename(rounds / entry.name)
    (rounds / "train").rmdir()
    for file, version in (("run.json", 1), ("plan.json", 2)):
        path = store.folder / file
        content = json.loads(path.read_text())
        (content["plan"] if file == "plan.json" else content)["version"] = version
        path.write_text(json.dumps(content))
    with pytest.raises(RunError) as caught:
        open_run(store.folder)
    assert caught.value.code == "run.unknown-version"
    assert "run format version must be 2, not 1" in caught.value.fact


def test_a_plan_of_the_second_version_is_refused_with_its_reason(store: RunStore) -> None:
    path = store.folder / "plan.json"
    content = json.loads(path.read_text())
    content["plan"]["version"] = 2
    path.write_text(json.dumps(content))
    with pytest.raises(PlanError) as caught:
        open_run(store.folder)
    assert caught.value.code == "plan.unknown-version"
    assert "plan version must be 4, not 2" in caught.value.fact
    assert caught.value.hint


def test_a_stage_that_the_plan_does_not_have_has_no_folder(store: RunStore) -> None:
    with pytest.raises(PlanError) as caught:
        store.stage("description")
    assert caught.value.code == "plan.no-such-stage"


def test_a_run_that_only_measures_has_no_training(store: RunStore) -> None:
    plan = store.plan.model_copy(update={"stages": store.plan.tables})
    with pytest.raises(RunError) as caught:
        RunStore(store.folder, plan).training  # noqa: B018
    assert caught.value.code == "run.no-training"


def test_a_plan_exchanged_after_preparation_is_refused(store: RunStore, tmp_path: Path) -> None:
    other, _ = practice.found_federation(tmp_path, run="other")
    (store.folder / "plan.json").write_bytes((other.folder / "plan.json").read_bytes())
    with pytest.raises(RunError) as caught:
        open_run(store.folder)
    assert caught.value.code == "run.wrong-plan"


def test_a_folder_without_a_run_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        open_run(tmp_path)
    assert caught.value.code == "run.not-a-run"
    assert caught.value.hint


def test_the_events_log_survives_a_torn_last_line(store: RunStore) -> None:
    store.log(Event(round=1, site="site-0", code="run.deadline-passed"))
    with (store.folder / "events.jsonl").open("a") as stream:
        stream.write('{"round": 2, "si')
    first = Event(round=1, site="site-0", code="run.deadline-passed")
    assert store.events() == [first]
    second = Event(round=2, site="", code="round-committed")
    store.log(second)
    assert store.events() == [first, second], "the torn line took the next one with it"


def test_times_are_when_the_first_event_and_each_committed_round_were_logged(store: RunStore) -> None:
    lines = [
        '{"utc": "2026-01-02T03:04:05.006+00:00", "round": 1, "site": "site-0", "code": "run.left"}',
        '{"utc": "2026-01-02T03:05:00.000+00:00", "round": 1, "site": "", "code": "round-committed"}',
        '{"utc": "2026-01-02T03:06:00.500+00:00", "round": 2, "site": "", "code": "round-committed"}',
        '{"utc": "2026-01-02T03:07',
    ]
    (store.folder / "events.jsonl").write_text("\n".join(lines))
    started, committed = store.times()
    assert started.isoformat() == "2026-01-02T03:04:05.006000+00:00"
    assert {number: at.isoformat()[14:21] for number, at in committed.items()} == {
        1: "05:00+0",
        2: "06:00.5",
    }


def test_an_unfinished_run_has_no_average(store: RunStore) -> None:
    with pytest.raises(RunError) as caught:
        store.averaged()
    assert caught.value.code == "run.not-finished"
