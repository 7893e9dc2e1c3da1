"""A stage's committed states: whole or not there, exact, and apart from other stages'."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest
from practice_federation import P

from server.run.folder import RunStore
from server.run.stage_folder import Contribution, RoundState, StageFolder
from shared.errors import RunError
from shared.stages.stage_sum import StageState


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return practice.found_federation(tmp_path)[0]


def ones(number: int) -> RoundState:
    return RoundState(state=StageState(round=number, vector=np.ones(P, "<f4")))


def test_a_commit_keeps_vector_memory_and_contributions_exactly(store: RunStore) -> None:
    generator = np.random.default_rng(3)
    vector = generator.normal(size=P).astype("<f4")
    memory = {"first": generator.normal(size=P), "second": generator.normal(size=(P, 3))}
    contributions = tuple(
        Contribution(site=site, weight=weight, total_sha256="a" * 64, ledger_head="b" * 64)
        for site, weight in (("site-0", 1 / 3), ("site-2", 2 / 3))
    )
    store.training.commit(
        RoundState(
            state=StageState(round=1, vector=vector, memory=memory),
            contributions=contributions,
            missing={"site-1": "run.x"},
        )
    )
    kept = store.training.committed(1)
    assert kept.round == 1
    np.testing.assert_array_equal(kept.vector, vector)
    assert sorted(kept.state.memory) == ["first", "second"]
    for name, expected in memory.items():
        np.testing.assert_array_equal(kept.state.memory[name], expected)
    assert kept.contributions == contributions
    assert kept.missing == {"site-1": "run.x"}
    np.testing.assert_array_equal(store.training.committed_vector(1), vector)


def test_a_state_of_float64_is_kept_as_such(store: RunStore) -> None:
    vector = np.array([1 / 3, 1e-300, -0.0])
    store.training.commit(RoundState(state=StageState(round=1, vector=vector)))
    kept = store.training.committed(1).vector
    assert kept.dtype == np.float64
    assert kept.tobytes() == vector.tobytes()


def test_a_committed_vector_may_be_changed_by_its_reader_and_a_map_may_not(store: RunStore) -> None:
    store.training.committed(0).vector[0] = 7.0
    assert store.training.committed(0).vector[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        store.training.committed_vector(0)[0] = 7.0


def test_a_round_that_was_not_finished_writing_does_not_count(store: RunStore) -> None:
    part = store.folder / "rounds" / "train" / ".0001.part"
    part.mkdir()
    (part / "state.safetensors").write_bytes(b"torn")
    assert store.training.last_committed().round == 0
    store.training.commit(ones(1))
    assert store.training.last_committed().round == 1
    assert not part.exists()


def test_a_changed_state_is_refused(store: RunStore) -> None:
    path = store.training.round_folder(0) / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        store.training.last_committed()
    assert caught.value.code == "run.damaged-file"


def test_a_round_that_was_not_committed_is_refused(store: RunStore) -> None:
    with pytest.raises(RunError) as caught:
        store.training.committed(1)
    assert caught.value.code == "run.no-such-round"


def test_the_last_round_is_the_highest_number_and_not_the_last_name(store: RunStore) -> None:
    for number in (9999, 10_000):
        store.training.commit(ones(number))
    assert store.training.last_committed().round == 10_000


def test_stages_lie_apart(store: RunStore) -> None:
    internal = store.stage("internal")
    assert internal.stage == store.plan.stage("internal")
    internal.commit(ones(1))
    assert store.training.last_committed().round == 0
    assert internal.last_committed().round == 1
    assert internal.round_folder(1) == store.folder / "rounds" / "internal" / "0001"


def test_a_journal_knows_the_sites_that_its_stage_asks(tmp_path: Path) -> None:
    store, _ = practice.found_federation(tmp_path, n_sites=2, n_external=1)
    for stage, sites in {"train": 2, "external": 1, "prospective": 3}.items():
        folder = StageFolder(store.folder, store.plan, store.plan.stage(stage))
        journal = folder.journal(P)
        for number in range(3):
            journal.reject(1, None, site=f"site-{number}", code="run.x")
        assert len(journal.read(1).rejected) == sites


def test_what_was_committed_names_its_plan_and_format(store: RunStore) -> None:
    content = json.loads((store.training.round_folder(0) / "state.json").read_bytes())
    assert content["version"] == 2
    assert content["plan_sha256"] == store.plan.sha256
