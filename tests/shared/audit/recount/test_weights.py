"""Weights files of the run folder, held against what sites signed and what was released."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from handed_over import HandedOver
from safetensors import safe_open
from safetensors.numpy import save_file
from test_claims import failed, recount

import shared.audit.recount.ledger as recount_ledger
from shared.audit.recount.held_weights import Tail, _tail, read_weights
from shared.audit.recount.recounted import RecountedLedger
from shared.audit.recount.weights import recount_weights
from shared.contract.protocol import vector_sha256
from shared.contract.release import read_release, write_release
from shared.errors import AuditError


@pytest.fixture(autouse=True)
def _one_accountant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one has no part in these claims and is slow."""
    monkeypatch.setattr(recount_ledger, "second_epsilon", recount_ledger.epsilon_of)


def replace_weights(path: Path, *, by: float = 0.125, is_covered: bool) -> None:
    """All weights of a file moved; ``is_covered``: with the hash that is written beside them."""
    with safe_open(path, framework="np") as stored:
        text = dict(stored.metadata())
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    (name,) = tensors.keys() & {"vector", "weights"}
    tensors[name] = np.ascontiguousarray(tensors[name] + np.float32(by))
    sha256 = vector_sha256(tensors[name])
    if is_covered and "weights_sha256" in text:
        text["weights_sha256"] = sha256
    save_file(tensors, path, metadata=text)
    state = path.with_name("state.json")
    if is_covered and state.exists():
        state.write_text(json.dumps(json.loads(state.read_text()) | {"vector_sha256": sha256}))


def file_of(handed: HandedOver, number: int) -> Path:
    return handed.run_folder / "rounds" / "train" / f"{number:04d}" / "state.safetensors"


def test_an_honest_folder_names_the_same_weights_everywhere(made_run: HandedOver) -> None:
    found = recount(made_run)["weights"]
    assert found.verdict == "pass", found.because
    # rounds 0, 1 and 2 are held; the updates of rounds 1 and 2 name the weights of 0 and 1
    assert (found.figures["weights_files"], found.figures["updates_that_name_weights"]) == (3, 2)
    held = read_weights(made_run.run_folder, made_run.plan)
    assert held.average is not None
    assert held.tail == Tail((2, 2), held.average.sha256)  # half of two rounds
    assert held.rounds["train", 2].sha256 == held.average.sha256
    external = recount(made_run, "hop")["weights"]
    assert (external.verdict, external.figures["updates_that_name_weights"]) == ("pass", 0)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_replaced_weights_file_is_refuted(handed: HandedOver, number: int) -> None:
    replace_weights(file_of(handed, number), is_covered=False)
    found = recount(handed)
    # the last round's are released; every other file is where a later round starts
    assert failed(found) == {"weights", "rounds"} | ({"release"} if number == 2 else set())
    assert f"weights file of train, round {number} is not" in found["weights"].because


@pytest.mark.parametrize("number", [0, 1])
def test_a_replaced_weights_file_with_its_record_is_refuted_by_the_update_that_started_from_it(
    handed: HandedOver, number: int
) -> None:
    replace_weights(file_of(handed, number), is_covered=True)
    found = recount(handed)
    assert failed(found) == {"weights", "rounds"}
    because = found["weights"].because
    assert f"update of train, round {number + 1} names other weights than those held" in because
    assert ("initial weights" in because) == (number == 0)


def test_the_last_rounds_weights_replaced_with_their_record_no_longer_give_the_average(
    handed: HandedOver,
) -> None:
    replace_weights(file_of(handed, 2), is_covered=True)
    found = recount(handed)
    assert failed(found) == {"weights", "rounds", "release"}
    assert "not the mean of the weights of rounds 2 to 2" in found["weights"].because


@pytest.mark.parametrize("is_covered", [False, True])
def test_a_replaced_average_is_refuted_and_is_not_the_release(
    handed: HandedOver, is_covered: bool
) -> None:
    # however little: the mean is taken again and has no rounding of its own
    replace_weights(handed.run_folder / "averaged.safetensors", by=3e-8, is_covered=is_covered)
    found = recount(handed)
    assert failed(found) == {"release", "weights"}
    assert "not the tail average" in found["release"].because


def test_an_average_that_was_taken_away_does_not_hide_what_was_released(handed: HandedOver) -> None:
    (handed.run_folder / "averaged.safetensors").unlink()
    assert failed(recount(handed)) == set()
    release_again(handed, read_weights_of(file_of(handed, 1)))
    found = recount(handed, statements=[])
    assert failed(found) == {"release"}
    assert "not the tail average" in found["release"].because


def test_an_average_of_a_training_that_is_not_finished_is_refuted(handed: HandedOver) -> None:
    shutil.rmtree(file_of(handed, 2).parent)
    found = recount(handed)
    assert "weights" in failed(found)
    assert "whose last rounds are not" in found["weights"].because


def read_weights_of(path: Path) -> np.ndarray:
    with safe_open(path, framework="np") as stored:
        vector: np.ndarray = stored.get_tensor("vector")
    return vector


def release_again(handed: HandedOver, weights: np.ndarray) -> None:
    """The coordinator signs another release."""
    folder = handed.run_folder / "release"
    genuine = read_release(folder, coordinator_key=handed.plan.coordinator_key)
    record = genuine.record.model_copy(update={"weights_sha256": vector_sha256(weights)})
    write_release(folder, record, weights, plan_file=handed.plan_file, key=handed.coordinator)


def test_weights_average_and_release_all_replaced_are_not_what_tables_measured(
    handed: HandedOver,
) -> None:
    """The round does not follow from its totals; the signed table names the other release."""
    average = handed.run_folder / "averaged.safetensors"
    for path in (file_of(handed, 2), average):
        replace_weights(path, is_covered=True)
    release_again(handed, read_weights_of(file_of(handed, 2)))
    found = recount(handed, statements=[])
    assert failed(found) == {"release", "rounds"}
    assert "reply of internal, round 1 measured another release" in found["release"].because


def test_an_update_whose_starting_weights_are_gone_is_named(handed: HandedOver) -> None:
    evidence = handed.evidence()
    assert evidence.weights is not None
    del evidence.weights.rounds["train", 1]  # type: ignore[attr-defined]
    found = recount_weights(RecountedLedger(handed.plan, "elm", tuple(handed.rows())), evidence)
    assert found.verdict == "fail"
    assert "weights that the update of train, round 2 names are not held" in found.because


def test_a_round_of_another_plan_is_refuted(handed: HandedOver) -> None:
    state = file_of(handed, 1).with_name("state.json")
    state.write_text(json.dumps(json.loads(state.read_text()) | {"plan_sha256": "8" * 64}))
    found = recount(handed)
    assert failed(found) == {"weights"}
    assert "train, round 1 was committed under another plan" in found["weights"].because


def test_a_damaged_or_missing_weights_file_is_an_error_that_names_it(handed: HandedOver) -> None:
    genuine = file_of(handed, 1).read_bytes()
    file_of(handed, 1).write_bytes(genuine[:-4])
    with pytest.raises(AuditError, match=r"0001/state\.safetensors cannot be read"):
        handed.evidence()
    file_of(handed, 1).unlink()
    with pytest.raises(AuditError, match=r"0001/state\.safetensors cannot be read"):
        handed.evidence()


def test_a_learner_releases_its_last_state_and_a_training_without_its_last_round_none() -> None:
    def held(number: int, size: int = 3) -> SimpleNamespace:
        return SimpleNamespace(state=lambda: SimpleNamespace(vector=np.full(size, number, "<f4")))

    plan = SimpleNamespace(trained=SimpleNamespace(name="learn", rounds=3))
    rounds = {("learn", number): held(number) for number in (1, 2, 3)}
    assert _tail(rounds, plan) == Tail((3, 3), vector_sha256(np.full(3, 3, "<f4")))
    assert _tail({("learn", 3): held(3), ("other", 3): held(9)}, plan) is not None
    del rounds["learn", 3]
    assert _tail(rounds, plan) is None
    assert _tail(rounds, SimpleNamespace(trained=None)) is None


def test_a_gradient_training_releases_the_mean_of_its_averaged_rounds(made_run: HandedOver) -> None:
    stage = made_run.plan.training
    assert stage is not None
    n = stage.strategy.n_averaged(stage.rounds)

    def held(number: int, size: int = 3) -> SimpleNamespace:
        return SimpleNamespace(state=lambda: SimpleNamespace(vector=np.full(size, number, "<f4")))

    rounds = {(stage.name, number): held(number) for number in range(1, stage.rounds + 1)}
    found = _tail(rounds, made_run.plan)
    assert found is not None
    assert found.rounds == (stage.rounds - n + 1, stage.rounds)
    mean = np.mean(range(stage.rounds - n + 1, stage.rounds + 1))
    assert found.mean_sha256 == vector_sha256(np.full(3, mean, "<f4"))
