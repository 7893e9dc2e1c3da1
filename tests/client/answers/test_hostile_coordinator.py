"""A coordinator that tries everything gets a code, and the site is as it was before.

Every case goes through the real ClientApp of a site whose people approved whatever they were shown;
policy, ledger and gate must hold alone.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import Message
from hostile_asking import (
    Case,
    approved,
    chunk,
    described,
    locked,
    measure,
    name_encoder,
    train,
)
from hostile_plans import HOSTILE_PLANS
from hostile_requests import HOSTILE_REQUESTS
from hostile_shown import Apart, Shown, apart, shown
from hostile_states import HOSTILE_STATES
from table_site import TableSites, copy_sites
from test_app import send

import client.answers.hello
from client.answers.answer import charge_for
from client.gate.gate import Gate, Prepared
from client.site.approved import Approved, approved_plan
from shared.contract.protocol import (
    Hello,
    Refusal,
    SumReply,
    SumRequest,
    WeightsChunk,
    any_from_record,
    from_record,
    to_record,
)
from shared.errors import OsteoFedError
from shared.signing.canonical import hash_file, hash_of
from shared.stages.stage_sum import Bound

HOSTILE = HOSTILE_PLANS | HOSTILE_REQUESTS | HOSTILE_STATES
_NAMES = [*HOSTILE_PLANS, *HOSTILE_REQUESTS, *HOSTILE_STATES]
assert len(_NAMES) == len(HOSTILE), "two cases of one name"


def files_of(folder: Path) -> dict[str, str]:
    """Hash of every file of a site but its logs, which grow by what was refused.

    Nor is looked at what the site has found out of approved plans, one file each at most.
    """
    found = {
        str(path.relative_to(folder)): hash_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in ("log", "outbox")
    }
    settled = {path for path in found if path.startswith("approvals/settled/")}
    assert {Path(path).name for path in settled} <= {
        Path(path).name for path in found if path.startswith("plans/")
    }
    return {path: digest for path, digest in found.items() if path not in settled}


def size_of_logs(folder: Path) -> int:
    return sum(path.stat().st_size for name in ("log", "outbox") for path in (folder / name).glob("*"))


def require_only_a_code(reply: Message, *, site: str) -> Refusal:
    """The refusal in a reply that says nothing else."""
    assert not reply.has_error()
    assert list(reply.content) == ["message"]
    refusal = from_record(reply.content, Refusal)
    assert re.fullmatch(r"[a-z]+\.[a-z-]+", refusal.code)
    assert re.fullmatch("[0-9a-f]{16}", refusal.correlation_id)
    assert re.fullmatch("([0-9a-f]{64})?", refusal.plan_sha256)
    assert refusal.site in ("", site)
    return refusal


@dataclass(frozen=True)
class Outcome:
    """What a hostile request was, and what came of it.

    Attributes:
        shown: all that the site was shown.
        refusal: what left.
        charged: charges that it cost.
        changed: first parts of the paths of files that it changed.
        logged: bytes of logs.
        line: of the site's own log, about the refusal.
    """

    shown: Shown
    refusal: Refusal
    charged: int
    changed: set[str]
    logged: int
    line: dict[str, str]


@pytest.fixture(scope="module")
def outcome(made: TableSites, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Outcome]:
    """What comes of a hostile request, each sent once."""

    @cache
    def send_once(name: str) -> Outcome:
        sites = copy_sites(made, tmp_path_factory.mktemp("hostile"))
        found = sent(sites, HOSTILE[name])
        shutil.rmtree(sites.folder)
        return found

    return send_once


def sent(sites: TableSites, case: Case) -> Outcome:
    folder = sites.folder / "sites" / case.site
    record, message_type = case.ask(sites)
    if case.opens:
        sites.gate(case.site)  # the ledger of a site that has answered before
    told = shown(sites, case.site, record, message_type)
    before, charged, logged = files_of(folder), charges_in(folder), size_of_logs(folder)
    refusal = require_only_a_code(send(folder, record, message_type), site=case.site)
    after = files_of(folder)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    return Outcome(
        shown=told,
        refusal=refusal,
        charged=charges_in(folder) - charged,
        changed={Path(path).parts[0] for path in changed},
        logged=size_of_logs(folder) - logged,
        line=json.loads((folder / "log" / "refusals.jsonl").read_bytes().splitlines()[-1]),
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_gets_a_code_and_changes_nothing(
    outcome: Callable[[str], Outcome], name: str
) -> None:
    case, found = HOSTILE[name], outcome(name)
    assert found.refusal.code == case.code
    assert found.charged == case.n_charges
    assert found.changed <= ({"ledger", "ledger-witness.json"} if case.n_charges else set())
    assert found.logged < 32_000
    line, refusal = found.line, found.refusal
    assert (line["code"], line["correlation_id"]) == (refusal.code, refusal.correlation_id)
    assert case.because in line["text"]


def charges_in(folder: Path) -> int:
    path = folder / "ledger" / "ledger.jsonl"
    return path.read_bytes().count(b'"kind":"charge"') if path.exists() else 0


# What an honest coordinator asks, to whom.
HONEST: dict[str, Case] = {
    "the first round": Case(lambda it: train(it, round=1), ""),
    "a round": Case(train, ""),
    "the last round": Case(lambda it: train(it, round=3), ""),
    "a table": Case(measure, ""),
    "an external table": Case(lambda it: measure(it, "external"), "", site="hop"),
    "a prospective table": Case(locked(), ""),
    "a description": Case(described(), ""),
    "a piece of an encoder": Case(chunk, ""),
    "a greeting": Case(
        lambda it: (to_record(Hello(plan_sha256=it.plan_sha256, nonce="n")), "query.hello"), ""
    ),
}


@pytest.fixture(scope="module")
def honest(made: TableSites, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shown]:
    """What a site is shown by each honest request, all of which it answers."""
    told = {}
    for name, case in HONEST.items():
        sites = copy_sites(made, tmp_path_factory.mktemp("honest"))
        record, message_type = case.ask(sites)
        told[name] = shown(sites, case.site, record, message_type)
        reply = send(sites.folder / "sites" / case.site, record, message_type)
        assert not isinstance(any_from_record(reply.content), Refusal), name
        shutil.rmtree(sites.folder)
    return told


def test_at_least_130_hostile_requests_differ_in_place_value_or_code(
    outcome: Callable[[str], Outcome], honest: dict[str, Shown]
) -> None:
    # of each the places and values that are not those of the nearest honest request, and the code
    triples: dict[tuple[Apart, str], list[str]] = {}
    for name in HOSTILE:
        found = outcome(name)
        triple = apart(found.shown, honest.values()), found.refusal.code
        triples.setdefault(triple, []).append(name)
    assert [names for names in triples.values() if len(names) > 1] == [], "the same by other names"
    assert [names for (differences, _), names in triples.items() if not differences] == []
    assert len(triples) >= 130


def test_a_round_out_of_turn_costs_that_round_and_no_more(sites: TableSites) -> None:
    # A late site may be asked for round 3 first; whatever the order, each round is paid for once.
    folder, event = sites.site().folder, sites.training.noise_multiplier
    for number in (3, 1, 3, 2, 1):
        reply = send(folder, *train(sites, round=number))
        assert isinstance(from_record(reply.content, SumReply), SumReply)
    rows = [row for row in sites.gate().ledger.show() if row.kind == "charge"]
    assert [(row.round, row.noise_multiplier, row.steps) for row in rows] == [
        (3, event, 1), (1, event, 1), (2, event, 1),
    ]  # fmt: skip


def test_a_round_that_fails_after_its_charge_gets_one_refusal_however_often_it_is_asked(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("shared.stages.gradient.GradientSum.answer", fail)
    sites.change_policy(epsilon_per_run=sites.plan.predicted.training_epsilon)
    request = sites.train_request()
    refusals = {
        require_only_a_code(send(sites.site().folder, to_record(request), "train"), site="elm")
        for _ in range(6)
    }
    assert {each.code for each in refusals} == {"osteofed.internal"}
    assert (len(refusals), sites.charges()) == (1, 1)


def pieces_kept(sites: TableSites) -> int:
    """Bytes of encoders and their pieces on the site's disk."""
    cache = sites.site().folder / "cache"
    return sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())


def push(sites: TableSites, plan_sha256: str, **values: object) -> Message:
    piece = {"file_sha256": "0" * 64, "n_chunks": 1000, "data": bytes(1000)} | values
    record = to_record(WeightsChunk(plan_sha256=plan_sha256, **piece))  # type: ignore[arg-type]
    return send(sites.site().folder, record, "query.weights")


def test_pieces_of_an_encoder_never_fill_the_disk(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.answers.hello._MAX_ENCODER_BYTES <= 1 << 30
    monkeypatch.setattr(client.answers.hello, "_MAX_ENCODER_BYTES", 5_000)
    plan_sha256 = approved(sites, name_encoder, encoder_sha256="0" * 64)
    kept, codes = [], []
    for index in range(14):
        reply = push(sites, plan_sha256, index=index)
        if "code" in dict(reply.content["message"]):  # type: ignore[call-overload]
            codes.append(require_only_a_code(reply, site="elm").code)
        kept.append(pieces_kept(sites))
    assert codes == ["weights.too-large"] * 2
    assert kept == [1000, 2000, 3000, 4000, 5000, 0] * 2 + [1000, 2000]
    for _ in range(5):  # one piece over and over takes the space of one
        push(sites, plan_sha256, index=0)
    assert pieces_kept(sites) == 3000
    for n_chunks in range(500, 540):  # and so do sendings that are begun anew with another number
        push(sites, plan_sha256, index=n_chunks - 1, n_chunks=n_chunks)
        assert pieces_kept(sites) == 1000
    reply = push(sites, plan_sha256, index=1, data=bytes(5_001))
    assert require_only_a_code(reply, site="elm").code == "weights.too-large"
    assert pieces_kept(sites) == 0


def test_a_message_of_no_known_kind_finds_no_handler(sites: TableSites) -> None:
    folder = sites.site().folder
    before = files_of(folder)
    for message_type in ("evaluate.internal", "evaluate", "query.everything"):
        reply = send(folder, to_record(sites.measure_request()), message_type)
        assert reply.has_error()
    assert files_of(folder) == before


N_REQUESTS = 10_000


def asked_again(sites: TableSites, number: int) -> SumRequest:
    return sites.measure_request(release_sha256=hash_of(number))


def test_ten_thousand_requests_for_metrics_get_one_table(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sites.site().folder
    answers = [send(folder, to_record(asked_again(sites, number)), "train") for number in range(20)]
    first = from_record(answers[0].content, SumReply)
    assert first.status == "measured"
    codes = {require_only_a_code(answer, site="elm").code for answer in answers[1:]}
    assert codes == {"privacy.round-repeated"}
    before, logged = files_of(folder), size_of_logs(folder)

    # the same below Flower's layer, without waiting for a disk
    monkeypatch.setattr("os.fsync", lambda _: None)
    gate, members = sites.gate(), sites.split("internal").arrays.patients
    approved = approved_plan(sites.site(), sites.plan_sha256)
    request = asked_again(sites, 0)
    for number in range(20, N_REQUESTS):
        again = replace(request, release_sha256=f"{number:064x}")
        refused = refusal_by(gate, approved, again, members=members)
        assert refused.code == "privacy.round-repeated"
    assert files_of(folder) == before
    assert sites.charges() == 1
    assert len((folder / "ledger" / "ledger.jsonl").read_bytes().splitlines()) == 3
    assert (size_of_logs(folder) - logged) / (N_REQUESTS - 20) < 4_000
    # and the one table can be fetched again as it was, for nothing
    same = from_record(send(folder, to_record(request), "train").content, SumReply)
    assert (same.total == first.total).all()
    assert sites.charges() == 1


def never() -> SumReply:
    raise AssertionError("noise was drawn")


def refusal_by(
    gate: Gate, approved: Approved, request: SumRequest, *, members: Collection[str]
) -> Refusal:
    """What the gate lets out when it refuses to charge."""
    plan = approved.plan
    charge = charge_for(approved, plan.stage(request.stage), request, canaries_sha256="")
    prepared = Prepared(charge=charge, members=members, bound=Bound(length=1, kind="<f8"), reply=never)
    with pytest.raises(OsteoFedError) as caught:
        gate.answer(
            request,
            lambda: prepared,
            purpose=charge.purpose,
            coordinator_key=plan.coordinator_key,
        )
    message = gate.refuse(caught.value, plan_sha256=plan.sha256).message
    assert isinstance(message, Refusal)
    return message


def test_a_site_says_that_it_holds_the_encoders_only_when_it_holds_every_one(tmp_path: Path) -> None:
    site = SimpleNamespace(encoder_file=lambda sha256: tmp_path / sha256)
    plan = SimpleNamespace(encoder_places={"one": "encoder.safetensors", "two": "encoders/two"})
    said = []
    for name in ("one", "two"):
        said.append(client.answers.hello._holds_encoders(site, plan))
        (tmp_path / name).touch()
    said.append(client.answers.hello._holds_encoders(site, plan))
    assert said == [False, False, True]
    assert client.answers.hello._holds_encoders(site, SimpleNamespace(encoder_places={}))
