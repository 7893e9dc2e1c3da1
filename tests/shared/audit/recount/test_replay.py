"""Rounds computed again from the journal: an aggregation that was tampered with cannot hide."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from handed_over import HandedOver, play_run
from safetensors import safe_open
from safetensors.numpy import save_file
from test_claims import failed, recount

import shared.audit.recount.ledger as recount_ledger
from server.run.folder import RunStore, open_run
from server.run.stage_folder import Contribution, RoundState
from shared.audit.recount.replay import Replay, replay_run
from shared.audit.recount.run_files import read_held
from shared.contract.protocol import Vector, signed_bytes, vector_sha256
from shared.stages.stage_sum import StageState

# Where sums become weights: at the site (with a rule that has a memory), or at the coordinator.
FOLDS = {
    "coordinator": ("federation.fold=coordinator",),
    "site": ("federation.fold=site", "strategy=fedadam"),
}


@pytest.fixture(autouse=True)
def _one_accountant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one has no part in these claims and is slow."""
    monkeypatch.setattr(recount_ledger, "second_epsilon", recount_ledger.epsilon_of)


@pytest.fixture(scope="module", params=FOLDS)
def folded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HandedOver:
    """A run of two rounds with either fold; to be looked at only."""
    return play_run(tmp_path_factory.mktemp("folded"), *FOLDS[request.param])


@pytest.fixture
def handed(folded: HandedOver, tmp_path: Path) -> HandedOver:
    shutil.copytree(folded.folder, tmp_path / "copy")
    return HandedOver(tmp_path / "copy")


def replay(handed: HandedOver) -> Replay:
    return replay_run(handed.run_folder, handed.plan)


def problems_of(handed: HandedOver) -> dict[int, str]:
    return {each.place[1]: "; ".join(each.problems) for each in replay(handed).rounds if each.problems}


def recommit(store: RunStore, number: int, **changes: object) -> None:
    """The coordinator commits another state of a round, with a record and hashes that fit it."""
    held = store.training.committed(number)
    values: dict[str, object] = {
        "vector": held.vector,
        "memory": held.state.memory,
        "contributions": held.contributions,
    } | changes
    shutil.rmtree(store.training.round_folder(number))
    state = StageState(round=number, vector=values["vector"], memory=values["memory"])  # type: ignore[arg-type]
    store.training.commit(RoundState(state=state, contributions=values["contributions"]))  # type: ignore[arg-type]


def reply_file(handed: HandedOver, number: int, site: str) -> Path:
    return handed.run_folder / "replies" / "train" / f"{number:04d}" / f"{site}.safetensors"


def test_an_honest_run_is_computed_again_to_the_last_bit(folded: HandedOver) -> None:
    found = replay(folded)
    assert [(each.place, each.sites, each.problems) for each in found.rounds] == [
        (("train", 1), ("elm", "fir"), ()),
        (("train", 2), ("elm", "fir"), ()),
    ]
    assert found.because == ""
    for name, n_own in (("elm", 2), ("hop", 0)):
        finding = recount(folded, name)["rounds"]
        assert finding.verdict == "pass", finding.because
        assert finding.figures == {
            "rounds_computed_again": 2,
            "totals_used": 4,
            "totals_of_this_site": n_own,
        }


def test_the_two_folds_are_what_they_are_called(
    folded: HandedOver, request: pytest.FixtureRequest
) -> None:
    stage = folded.plan.training
    assert stage is not None
    assert stage.fold in request.node.name
    held = open_run(folded.run_folder).training.committed(2)
    assert set(held.state.memory) == ({"first", "second"} if stage.fold == "site" else set())


def test_weights_moved_by_their_coordinator_in_every_later_record_too_are_found(
    handed: HandedOver,
) -> None:
    """The smallest move that float32 knows, in the last round, so that no update starts from it."""
    store = open_run(handed.run_folder)
    vector = store.training.committed(2).vector.copy()
    vector[0] = np.nextafter(vector[0], np.float32(9))
    recommit(store, 2, vector=vector)
    store.write_averaged(vector)
    shutil.rmtree(store.release_folder)
    found = recount(handed, statements=[])
    assert failed(found) == {"rounds"}
    assert (
        found["rounds"].because == "train, round 2 does not follow from the state before and its totals"
    )


def test_a_move_in_an_earlier_round_is_found_there(handed: HandedOver) -> None:
    store = open_run(handed.run_folder)
    recommit(store, 1, vector=store.training.committed(1).vector * np.float32(1.5))
    found = problems_of(handed)
    assert "does not follow" in found[1]
    assert "of fir was made from another state than the one held of the round before" in found[2]


Tamper = Callable[[HandedOver, RunStore], None]


def forget_site(handed: HandedOver, store: RunStore) -> None:
    """The coordinator leaves out one site's total and says so."""
    held = store.training.committed(2)
    recommit(store, 2, contributions=(replace(held.contributions[0], weight=1.0),))


def lose_reply(handed: HandedOver, store: RunStore) -> None:
    reply_file(handed, 2, "fir").unlink()


def add_nobody(handed: HandedOver, store: RunStore) -> None:
    """A contribution of a site that was never asked."""
    held = store.training.committed(2)
    other = Contribution(site="hop", weight=0.0, total_sha256="0" * 64, ledger_head="")
    recommit(store, 2, contributions=(*held.contributions, other))


def swap_sites(handed: HandedOver, store: RunStore) -> None:
    recommit(store, 2, contributions=store.training.committed(2).contributions[::-1])


def weigh_otherwise(handed: HandedOver, store: RunStore) -> None:
    parts = store.training.committed(2).contributions
    weights = (0.75, 0.25)
    changed = [replace(part, weight=weight) for part, weight in zip(parts, weights, strict=True)]
    recommit(store, 2, contributions=tuple(changed))


def rewrite_total(handed: HandedOver, make: Callable[[Vector], Vector]) -> str:
    """Another total of ``fir`` in the journal; its hash."""
    path = reply_file(handed, 2, "fir")
    with safe_open(path, framework="np") as stored:
        text, total = dict(stored.metadata()), make(stored.get_tensor("total"))
    save_file({"total": np.ascontiguousarray(total)}, path, metadata=text)
    return vector_sha256(total)


def exchange_total(handed: HandedOver, store: RunStore) -> None:
    rewrite_total(handed, lambda total: total + 1)


def invent_total(handed: HandedOver, store: RunStore) -> None:
    """A total that the coordinator made up, in journal, record and weights alike."""
    sha256 = rewrite_total(handed, lambda total: total * 0)
    parts = store.training.committed(2).contributions
    changed = [parts[0], replace(parts[1], total_sha256=sha256)]
    recommit(store, 2, contributions=tuple(changed))


def skip_round(handed: HandedOver, store: RunStore) -> None:
    shutil.rmtree(store.training.round_folder(1))


def go_on(handed: HandedOver, store: RunStore) -> None:
    """A round beyond the plan's last."""
    held = store.training.committed(2)
    state = StageState(round=3, vector=held.vector, memory=held.state.memory)
    store.training.commit(RoundState(state=state, contributions=held.contributions))


@pytest.mark.parametrize(
    ("tamper", "number", "because"),
    [
        (forget_site, 2, "train, round 2 leaves out the accepted total of fir"),
        (lose_reply, 2, "train, round 2 was committed with a total of fir that is not held"),
        (add_nobody, 2, "train, round 2 was committed with a total of hop that is not held"),
        (swap_sites, 2, "names other shares of its sites, or another order, than the plan's"),
        (weigh_otherwise, 2, "names other shares of its sites, or another order, than the plan's"),
        (exchange_total, 2, "committed with another total of fir than the one held"),
        (invent_total, 2, "the total of fir is not signed by the key on the roster"),
        (skip_round, 2, "train, round 2 is committed, the round before it is not held"),
        (go_on, 3, "train, round 3 is committed, the plan has 2 rounds"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_coordinator_could_do_to_a_round_is_named(
    handed: HandedOver, tamper: Tamper, number: int, because: str
) -> None:
    tamper(handed, open_run(handed.run_folder))
    assert because in problems_of(handed)[number]
    assert "rounds" in failed(recount(handed, "hop")), "whoever's ledger is looked at"


def test_a_total_of_another_form_is_refused_even_if_its_site_signed_it(handed: HandedOver) -> None:
    """The same numbers in the other width: the state may follow, no honest round would take it."""
    store, held = open_run(handed.run_folder), read_held(handed.run_folder, "fir")
    reply = held.replies["train", 2]
    other = {4: np.dtype("<f8"), 8: np.dtype("<f4")}[reply.total.dtype.itemsize]
    changed = replace(reply, total=reply.total.astype(other))
    sha256 = rewrite_total(handed, lambda total: total.astype(other))
    path = reply_file(handed, 2, "fir")
    with safe_open(path, framework="np") as stored:
        text, total = dict(stored.metadata()), stored.get_tensor("total")
    text["signature"] = handed.site("fir").key.sign(signed_bytes(changed))
    save_file({"total": total}, path, metadata=text)
    parts = store.training.committed(2).contributions
    recommit(store, 2, contributions=(parts[0], replace(parts[1], total_sha256=sha256)))
    assert "the total of fir is not" in problems_of(handed)[2]
    assert "numbers of" in problems_of(handed)[2]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_memory_that_a_rule_of_aggregation_did_not_make_is_found(
    handed: HandedOver, number: int
) -> None:
    store = open_run(handed.run_folder)
    held = store.training.committed(number)
    memory = {"first": np.full(held.vector.size, 0.25), "second": np.full(held.vector.size, 0.5)}
    recommit(store, number, memory=memory)
    found = problems_of(handed)
    assert ("another state than the plan's first" if number == 0 else "does not follow") in found[
        max(1, number)
    ]


@pytest.mark.parametrize("length", [0, 3])
def test_weights_of_another_length_are_a_problem_and_no_crash(handed: HandedOver, length: int) -> None:
    recommit(open_run(handed.run_folder), 1, vector=np.ones(length, dtype="<f4"))
    found = problems_of(handed)
    assert "does not follow" in found[1]
    assert "another state" in found[2]


def test_a_run_without_a_committed_round_is_not_called_computed_again(handed: HandedOver) -> None:
    for number in (1, 2):
        shutil.rmtree(open_run(handed.run_folder).training.round_folder(number))
    finding = recount(handed, statements=[])["rounds"]
    assert (finding.verdict, finding.because) == ("not-run", "no round was committed")


def test_a_damaged_record_is_an_error_that_names_it(handed: HandedOver) -> None:
    path = open_run(handed.run_folder).training.round_folder(1) / "state.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"contributions": [{"site": "elm"}]}))
    with pytest.raises(Exception, match=r"0001/state\.json cannot be read") as caught:
        replay(handed)
    assert caught.value.code == "audit.damaged-run-folder"  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> HandedOver:
    """A run whose release is a learner's state, solved from noised second moments."""
    asked = ("learner=second_moments", "learner.read_as=discriminants")
    return play_run(tmp_path_factory.mktemp("learned"), *asked)


@pytest.mark.parametrize("name", ["elm", "fir", "hop"])
def test_a_run_of_a_learner_passes_every_claim(learned: HandedOver, name: str) -> None:
    found = recount(learned, name)
    assert failed(found) == set()
    assert found["rounds"].verdict == "pass", found["rounds"].because
    assert found["weights"].verdict == "pass"


@pytest.mark.parametrize(("share", "is_found"), [(1e-5, True), (1e-9, False)])
def test_a_learners_state_may_differ_by_rounding_and_by_no_more(
    learned: HandedOver, tmp_path: Path, share: float, is_found: bool
) -> None:
    shutil.copytree(learned.folder, tmp_path / "copy")
    handed = HandedOver(tmp_path / "copy")
    store = open_run(handed.run_folder)
    last = store.training.last_committed()
    vector = last.vector.copy()
    vector[0] += share * np.abs(vector).max()
    recommit(store, last.round, vector=vector)
    assert (last.round in problems_of(handed)) is is_found
