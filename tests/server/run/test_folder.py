"""The run folder: what is whole, what is refused, what survives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest

from server.run.folder import Event, RoundState, RunStore, open_run, prepare_run
from server.run.journal import Journal
from shared.contract.vector_file import open_vectors, write_vectors
from shared.contract.protocol import TrainReply
from shared.errors import RunError


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return practice.found_federation(tmp_path)[0]


def test_a_prepared_run_starts_at_its_initial_weights(store: RunStore) -> None:
    state = open_run(store.folder).last_committed()
    assert state.round == 0
    np.testing.assert_array_equal(state.weights, np.zeros(8, "<f4"))


def test_preparing_a_run_twice_changes_nothing(store: RunStore) -> None:
    store.commit(RoundState(round=1, weights=np.ones(8, "<f4")))
    again = prepare_run(store.folder, initial_weights=np.zeros(8, "<f4"))
    assert again.last_committed().round == 1


def test_initial_weights_that_are_not_the_plan_s_are_refused(store: RunStore) -> None:
    (store.folder / "run.json").unlink()
    with pytest.raises(RunError) as caught:
        prepare_run(store.folder, initial_weights=np.ones(8, "<f4"))
    assert caught.value.code == "run.wrong-weights"


def test_a_commit_keeps_weights_and_memory_exactly(store: RunStore) -> None:
    generator = np.random.default_rng(3)
    weights = generator.normal(size=8).astype("<f4")
    memory = {"first": generator.normal(size=8), "second": generator.normal(size=8)}
    store.commit(RoundState(round=1, weights=weights, memory=memory, missing={"site-1": "run.x"}))
    state = store.committed(1)
    np.testing.assert_array_equal(state.weights, weights)
    np.testing.assert_array_equal(state.memory["second"], memory["second"])
    assert state.missing == {"site-1": "run.x"}


def test_a_round_that_was_not_finished_writing_does_not_count(store: RunStore) -> None:
    part = store.folder / "rounds" / ".0001.part"
    part.mkdir()
    (part / "weights.safetensors").write_bytes(b"torn")
    assert store.last_committed().round == 0
    store.commit(RoundState(round=1, weights=np.ones(8, "<f4")))
    assert store.last_committed().round == 1


def test_changed_weights_are_refused(store: RunStore) -> None:
    path = store.round_folder(0) / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        store.last_committed()
    assert caught.value.code == "run.damaged-file"


@pytest.mark.parametrize("file", ["run.json", "rounds/0000/state.json"])
def test_an_unknown_format_version_is_refused(store: RunStore, file: str) -> None:
    path = store.folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    with pytest.raises(RunError) as caught:
        open_run(store.folder).last_committed()
    assert caught.value.code == "run.unknown-version"


def test_a_plan_exchanged_after_preparation_is_refused(store: RunStore, tmp_path: Path) -> None:
    other, _ = practice.found_federation(tmp_path, n_parameters=9, run="other")
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
    assert store.events() == [Event(round=1, site="site-0", code="run.deadline-passed")]


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


def reply(update: np.ndarray) -> TrainReply:
    return TrainReply(
        plan_sha256="p" * 64,
        round=1,
        site="a",
        weights_sha256="w" * 64,
        update=update,
        ledger_head="",
        signature="s",
    )


def test_the_journal_returns_replies_in_roster_order_as_memory_maps(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sites=("b", "a"), n_parameters=3)
    for site, value in (("a", 1.0), ("b", 2.0)):
        sent = reply(np.full(3, value, "<f4"))
        journal.accept(1, sent, site=site, update_sha256=site)
    accepted = journal.read(1).accepted
    assert list(accepted) == ["b", "a"]
    assert accepted["a"].update_sha256 == "a"
    assert isinstance(accepted["a"].reply.update.base, np.memmap)
    np.testing.assert_array_equal(accepted["b"].reply.update, [2, 2, 2])


def test_the_journal_keeps_only_a_bounded_part_of_a_rejected_update(tmp_path: Path) -> None:
    journal = Journal(tmp_path, sites=("a",), n_parameters=3)
    journal.reject(1, reply(np.zeros(10_000, "<f4")), site="a", code="protocol.wrong-shape")
    assert journal.read(1).rejected == {"a": "protocol.wrong-shape"}
    assert (tmp_path / "0001" / "a.safetensors").stat().st_size < 1000


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_an_update_of_another_number_type_is_journalled_as_its_code(tmp_path: Path, dtype: str) -> None:
    journal = Journal(tmp_path, sites=("a",), n_parameters=3)
    journal.reject(1, reply(np.zeros(3, dtype)), site="a", code="protocol.wrong-type")
    assert journal.read(1).rejected == {"a": "protocol.wrong-type"}


def test_vector_files_are_safetensors_that_others_can_read(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    path = tmp_path / "v.safetensors"
    vectors = {"a": np.arange(5, dtype="<f4"), "b": np.zeros(0), "c": np.arange(3, dtype="<f8")}
    write_vectors(path, vectors, text={"note": "x"}, is_durable=True)
    theirs, ours = load_file(path), open_vectors(path)
    for name, vector in vectors.items():
        np.testing.assert_array_equal(theirs[name], vector)
        np.testing.assert_array_equal(ours.vectors[name], vector)
    assert ours.text == {"note": "x"}
