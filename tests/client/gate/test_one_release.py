"""Wherever a process dies and whoever asks meanwhile: one charge, one release, the same bytes again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from dying_site import at_once, die_at, steps_of
from table_site import TableSites

from shared.audit.recount.charges import recount_charges
from shared.audit.recount.recounted import RecountedLedger
from shared.contract.payload import pack, payload_sha256
from shared.contract.protocol import SumReply, SumRequest
from shared.errors import OsteoFedError
from shared.privacy.ledger_format import LedgerRow
from shared.signing.countersign import countersign
from shared.signing.keys import load_key


def written(path: str) -> tuple[str, ...]:
    """Steps of a line that is appended."""
    return tuple(f"{when} {call} {path}" for call in ("write", "flush") for when in ("before", "after"))


def put(path: str, folder: str) -> tuple[str, ...]:
    """Steps of a file that is written whole: beside, flushed, renamed, its folder flushed."""
    name = path.rpartition("/")[2]
    beside = path.removesuffix(name) + f".{name}.part"
    calls = (f"flush {beside}", f"rename to {path}", *((f"flush {folder}",) if folder else ()))
    return tuple(f"{when} {call}" for call in calls for when in ("before", "after"))


WITNESS = put("ledger-witness.json", "")
ROW = (*written("ledger/ledger.jsonl"), *WITNESS)
LOGGED = ("flush outbox/outbox.jsonl", "flush outbox")
# Every instant between charge and sending at which what lasts has changed.
STEPS = (
    *put("ledger/members/HASH.json", "ledger/members"),  # whom the charge names
    *ROW,  # the charge
    *put("replies/HASH.json", "replies"),  # the total, once it was made
    *ROW,  # the outcome
    *(f"{when} {call}" for call in LOGGED for when in ("before", "after")),  # it may leave
)
CHARGED = STEPS.index("after flush ledger/ledger.jsonl")
STORED = STEPS.index("after flush replies")
STAGES = ("train", "internal", "description")


@pytest.fixture(autouse=True)
def disk_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed loses nothing of what it has written, flushed or not."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def copied(made: TableSites, folder: Path) -> TableSites:
    """A site of its own, whose ledger is open and whose outbox's folder is there."""
    shutil.copytree(made.folder / "sites" / "elm", folder / "sites" / "elm")
    sites = replace(made, folder=folder)
    sites.gate()
    (folder / "sites" / "elm" / "outbox").mkdir(exist_ok=True)
    return sites


def asked(sites: TableSites, stage: str) -> SumRequest:
    return sites.train_request() if stage == "train" else sites.measure_request(stage)


def rows_of(sites: TableSites) -> tuple[LedgerRow, ...]:
    return sites.gate().ledger.show()


def kinds(sites: TableSites) -> list[str]:
    return [row.kind for row in rows_of(sites)]


def answered(sites: TableSites, request: SumRequest) -> SumReply:
    reply = sites.answer(request).message
    assert isinstance(reply, SumReply)
    return reply


def require_one_release(sites: TableSites, request: SumRequest) -> None:
    """Asked twice: one charge, one outcome, which reply and log name, and equal bytes."""
    first, again = answered(sites, request), answered(sites, request)
    assert pack(first) == pack(again)
    rows = rows_of(sites)
    [charge] = [row for row in rows if row.kind == "charge"]
    [outcome] = [row for row in rows if row.kind == "outcome"]
    assert (first.ledger_head, first.ledger_index) == (outcome.sha256, outcome.index)
    assert (outcome.charge_index, outcome.status) == (charge.index, "released")
    assert outcome.payload_sha256 == payload_sha256(first)
    left = [each.release_class for each in sites.gate().outbox.show()]
    assert left.count("dp") == 1
    found = recount_charges(RecountedLedger(sites.plan, "elm", rows))
    assert found.verdict == "pass", found.because


@pytest.mark.parametrize("stage", STAGES)
def test_a_process_that_dies_at_any_step_leaves_one_charge_and_one_release(
    made_described: TableSites, tmp_path: Path, stage: str
) -> None:
    whole = copied(made_described, tmp_path / "whole")
    assert tuple(steps_of(lambda: whole.answer(asked(whole, stage)))) == STEPS
    require_one_release(whole, asked(whole, stage))
    assert len(STEPS) >= 30
    repeated = []
    for step, name in enumerate(STEPS):
        sites = copied(made_described, tmp_path / str(step))
        request = asked(sites, stage)
        die_at(step, partial(sites.answer, request))
        try:
            require_one_release(sites, request)
        except (AssertionError, OsteoFedError) as error:
            raise AssertionError(f"died {name} ({step})") from error
        repeated += [name] if "attempt" in kinds(sites) else []
        shutil.rmtree(sites.folder)
    # Drawn again is what was charged and not stored, and nothing else.
    drawn = STEPS[CHARGED - 2 : STORED - 2]
    assert set(repeated) <= set(drawn)
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
    require_one_release(sites, request)


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
