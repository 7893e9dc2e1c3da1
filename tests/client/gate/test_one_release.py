"""Wherever a process dies and whoever asks meanwhile: one charge, one release, the same bytes again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from dying_site import at_once, die_at
from one_release import (
    CHARGED,
    STAGES,
    STEPS,
    STORED,
    answered,
    asked,
    asked_twice,
    copied,
    kinds,
    left_after,
    rows_of,
    taken,
)
from table_site import TableSites

from shared.audit.recount.charges import recount_charges
from shared.audit.recount.recounted import RecountedLedger
from shared.contract.payload import pack
from shared.contract.protocol import SumRequest
from shared.signing.countersign import countersign
from shared.signing.keys import load_key


@pytest.fixture(autouse=True)
def disk_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed loses nothing of what it has written, flushed or not."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.mark.parametrize("stage", STAGES)
def test_a_process_that_dies_at_any_step_leaves_one_charge_and_one_release(
    made_described: TableSites, tmp_path: Path, stage: str
) -> None:
    assert taken(made_described, tmp_path / "whole", stage) == STEPS
    assert len(STEPS) >= 30
    repeated = []
    for step in (None, *range(len(STEPS))):
        left = left_after(made_described, tmp_path / str(step), stage, step)
        name = "nowhere" if step is None else f"{STEPS[step]} ({step})"
        assert left.is_right, (name, left)
        repeated += [step] if left.attempts else []
        shutil.rmtree(tmp_path / str(step))
    # Drawn again is what was charged and not stored, and nothing else.
    assert set(repeated) <= set(range(CHARGED - 2, STORED - 2))
    assert len(repeated) >= 10


def test_four_processes_that_are_asked_at_once_make_one_release(
    made: TableSites, tmp_path: Path
) -> None:
    sites = copied(made, tmp_path)
    request = asked(sites, "train")
    sent = tmp_path / "sent"
    sent.mkdir()

    def answer() -> None:
        file = sent / f"{np.random.default_rng().integers(2**62)}"
        file.write_bytes(pack(sites.answer(request).message))

    at_once(4, answer)
    assert kinds(sites) == ["opened", "charge", "outcome"]
    assert len(list(sent.iterdir())) == 4
    assert {file.read_bytes() for file in sent.iterdir()} == {pack(answered(sites, request))}


@pytest.mark.parametrize("step", [CHARGED, STORED])
def test_a_coordinator_that_asks_with_other_weights_after_a_crash_gets_nothing(
    made: TableSites, tmp_path: Path, step: int
) -> None:
    sites = copied(made, tmp_path)
    request = asked(sites, "train")
    die_at(step, partial(sites.answer, request))
    for change in (1e-3, 1.0):
        other = replace(request, vector=sites.weights + np.float32(change))
        assert sites.refused(other) == "privacy.round-repeated"
    assert asked_twice(sites, request).is_right


def headed(sites: TableSites, request: SumRequest, head: str) -> SumRequest:
    """The same request with the head that the coordinator has seen last."""
    key = load_key(sites.folder / "coordinator.pem")
    signature = countersign(key, site="elm", plan_sha256=sites.plan_sha256, ledger_head=head)
    return replace(request, ledger_head=head, countersignature=signature)


def with_coordinator(made: TableSites, folder: Path) -> TableSites:
    sites = copied(made, folder)
    shutil.copy(made.folder / "coordinator" / "keys" / "coordinator.pem", folder)
    return sites


@pytest.mark.parametrize("step", [CHARGED, STORED], ids=["charged", "stored"])
def test_a_backup_from_between_charge_and_outcome_reuses_nothing_that_was_open(
    made: TableSites, tmp_path: Path, step: int
) -> None:
    sites = with_coordinator(made, tmp_path / "federation")
    request, folder = asked(sites, "train"), sites.folder / "sites" / "elm"
    die_at(step, partial(sites.answer, request))
    shutil.copytree(folder, tmp_path / "backup")
    left = answered(sites, request)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    # the coordinator has the answer: the older ledger does not go on
    seen = headed(sites, request, left.ledger_head)
    assert sites.refused(seen) == "ledger.behind"
    # the answer was lost on its way: it is paid for again, and is another one
    anew = answered(sites, request)
    assert kinds(sites) == ["opened", "charge", "moved", "charge", "outcome"]
    assert (anew.total != left.total).any()
    assert (left.charges, anew.charges) == (1, 2), "a second charge is told"
    assert pack(answered(sites, request)) == pack(anew)
    found = recount_charges(RecountedLedger(sites.plan, "elm", rows_of(sites)))
    assert found.figures["attempts"] == 2


def test_of_a_cloned_site_the_older_folder_refuses_once_the_other_has_answered(
    made: TableSites, tmp_path: Path
) -> None:
    sites = with_coordinator(made, tmp_path / "federation")
    answered(sites, asked(sites, "train"))
    clone = replace(sites, folder=tmp_path / "clone")
    shutil.copytree(sites.folder, clone.folder)
    following = sites.train_request(round=3)
    head = answered(clone, following).ledger_head
    assert kinds(clone)[3:] == ["moved", "charge", "outcome"]
    assert sites.refused(headed(sites, following, head)) == "ledger.behind"


def test_two_copies_that_are_asked_at_once_show_two_rows_at_one_index(
    made: TableSites, tmp_path: Path
) -> None:
    sites = copied(made, tmp_path / "one")
    answered(sites, asked(sites, "train"))
    clones = [replace(sites, folder=tmp_path / name) for name in ("other", "third")]
    for clone in clones:
        shutil.copytree(sites.folder, clone.folder)
    replies = [answered(clone, clone.train_request(round=3)) for clone in clones]
    assert len({reply.ledger_index for reply in replies}) == 1
    assert len({reply.ledger_head for reply in replies}) == 2


def test_member_lists_of_a_repeated_charge_are_those_of_the_charge(
    made: TableSites, tmp_path: Path
) -> None:
    sites = copied(made, tmp_path)
    request = asked(sites, "train")
    die_at(CHARGED, partial(sites.answer, request))
    ledger = sites.gate().ledger
    [charge] = [row for row in ledger.show() if row.kind == "charge"]
    assert ledger.members_of([charge]) == set(sites.split("train").arrays.patients)
    answered(sites, request)
    assert kinds(sites) == ["opened", "charge", "attempt", "outcome"]
