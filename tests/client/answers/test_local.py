"""Training a release further: charged as planned, the weights stay, only the comparison leaves."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from late_hospital import BY, Hospital
from practice_offline import finish, key_of, store_of, stranger
from table_site import TableSites

import client.gate.gate
from client.answers.answer import answer_approved
from client.answers.local import local_weights, plan_local, train_local
from client.answers.offline import approve_own, own_request
from client.gate.gate import open_gate
from client.gate.ledger import find_ledger, require_ledger
from client.gate.outbox import Outbox
from client.people.withdrawal import models_that_saw
from client.site.folder import Site, open_site
from shared.contract.payload import pack
from shared.contract.protocol import vector_sha256
from shared.contract.release import Release
from shared.errors import OsteoFedError
from shared.privacy.accountant import epsilon_of
from shared.privacy.ledger_format import LedgerRow
from shared.stages.external_file import decode_external
from shared.stages.local_plan import local_run


@pytest.fixture
def release(sites: TableSites) -> Release:
    return finish(sites)


@pytest.fixture
def kay(sites: TableSites, release: Release) -> Hospital:
    return stranger(sites.folder / "elsewhere")


def personalise(kay: Hospital, sites: TableSites, out: Path, *more: str) -> dict[str, object]:
    said = ("--by", BY, "--out", str(out), "--coordinator", key_of(sites).public_hex, "--yes")
    return kay.told("personalise", str(store_of(sites).release_folder), *said, *more)


def rows_of(site: Site, kind: str) -> list[LedgerRow]:
    return [row for row in require_ledger(site).show() if row.kind == kind]


def test_the_ledger_is_charged_what_the_plan_says_once_a_day(
    kay: Hospital, sites: TableSites, release: Release
) -> None:
    out, site = sites.folder / "local.json", open_site(kay.folder)
    personalise(kay, sites, out, "--epsilon", "2")
    plan = decode_external(out.read_bytes()).plan
    trained, compared = rows_of(site, "charge")
    assert [(row.purpose, row.stage) for row in (trained, compared)] == [
        ("train", "local"),
        ("evaluate.internal", "local_internal"),
    ]
    assert (trained.run, trained.steps) == (local_run(release), plan.training and 10)
    by_group = {split.patients: split.epsilon for split in plan.predicted.splits}
    delta = plan.settings.delta
    for row, group in ((trained, "train"), (compared, "internal")):
        assert row.event is not None
        assert epsilon_of([row.event], delta) == pytest.approx(by_group[group])
    assert 1.9 < (by_group["train"] or 0) <= 2.0
    first, weights = out.read_bytes(), local_weights(site, release)
    personalise(kay, sites, out, "--epsilon", "2")
    assert out.read_bytes() == first
    assert (local_weights(site, release) == weights).all()
    assert len(rows_of(site, "charge")) == 2


def test_nothing_leaves_but_the_comparison(kay: Hospital, sites: TableSites, release: Release) -> None:
    out, site = sites.folder / "local.json", open_site(kay.folder)
    personalise(kay, sites, out)
    weights = local_weights(site, release)
    assert vector_sha256(weights) != release.record.weights_sha256
    left = Outbox(site.folder / "outbox", site.folder / "replies").show()
    assert [(each.channel, each.release_class) for each in left] == [
        ("evaluate.internal", "dp"),
        ("export.external", "status"),
    ]
    [kept, sent] = rows_of(site, "outcome")
    assert (kept.status, sent.status) == ("kept", "released")
    assert kept.payload_sha256 not in {each.payload_sha256 for each in left}
    file = decode_external(out.read_bytes())
    assert file.reply.total.size == 3  # a count, a rise and its square
    # neither the weights nor their change, in any form, in anything that left or was logged
    gone = [out.read_bytes(), file.reply.total.tobytes(), pack(file.reply)]
    gone += [path.read_bytes() for path in (site.folder / "outbox").iterdir()]
    for vector in (weights, weights - release.weights):
        for number in vector[vector != 0]:
            assert not any(number.tobytes() in text for text in gone[1:2])
            assert not any(repr(float(number)).encode() in text for text in gone)
        for kind in ("<f4", "<f8"):
            packed = base64.b64encode(vector.astype(kind).tobytes())[:40]
            assert not any(packed in text for text in gone)
    kept_files = list((site.folder / "replies").glob("*.json"))
    assert {path.stat().st_mode & 0o777 for path in kept_files} == {0o600}
    assert {path.stem for path in kept_files} == {row.sha256 for row in rows_of(site, "charge")}


def test_a_message_cannot_fetch_what_was_trained_to_stay(
    kay: Hospital, sites: TableSites, release: Release
) -> None:
    site = open_site(kay.folder)
    planned = plan_local(site, release, epsilon=2.0)
    train_local(site, planned, by=BY, out=sites.folder / "local.json")
    approved = approve_own(site, planned.plan, by=BY)
    gate = open_gate(site.folder, site=site.name, key=site.key, clock=site.clock)
    request = own_request(planned.plan, planned.plan.stages[0], release, release.weights)
    with pytest.raises(OsteoFedError) as caught:
        answer_approved(approved, gate, request)
    assert caught.value.code == "plan.stays-here"
    with pytest.raises(OsteoFedError) as caught:
        gate.answer(request, pytest.fail, purpose="train", coordinator_key=site.key.public_hex)
    assert caught.value.code == "policy.stays-here"


@pytest.mark.parametrize("step", ["store_reply", "record_outcome"])
def test_a_process_that_dies_pays_once_and_goes_on(
    kay: Hospital,
    sites: TableSites,
    release: Release,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = open_site(kay.folder)
    planned, out = plan_local(site, release, epsilon=2.0), sites.folder / "local.json"
    owner = client.gate.gate.Outbox if step == "store_reply" else client.gate.gate.Ledger
    kept: Callable[..., object] = getattr(owner, step)

    def die(*_arguments: object, **_options: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, step, die)
    with pytest.raises(KeyboardInterrupt):
        train_local(site, planned, by=BY, out=out)
    assert not out.exists()
    with pytest.raises(OsteoFedError, match="has not trained"):
        local_weights(site, release)
    stored = {path.name: path.read_bytes() for path in (site.folder / "replies").glob("*.json")}
    monkeypatch.setattr(owner, step, kept)
    train_local(site, planned, by=BY, out=out)
    assert [row.stage for row in rows_of(site, "charge")] == ["local", "local_internal"]
    for name, data in stored.items():
        assert (site.folder / "replies" / name).read_bytes() == data


def test_local_weights_move_from_the_release_and_are_read_with(
    kay: Hospital, sites: TableSites, release: Release
) -> None:
    folder, key = str(store_of(sites).release_folder), key_of(sites).public_hex
    fields = release.plan.settings.cohort.fields
    values = [f"{field.name}={(field.low + field.high) / 2}" for field in fields]
    said = [word for value in values for word in ("--value", value)]
    asked = ("predict", folder, *said, "--coordinator", key)
    assert kay.told(*asked, "--local")["error"] == "weights.no-local-weights"
    personalise(kay, sites, sites.folder / "local.json", "--epsilon", "3")
    plain, local = kay.told(*asked), kay.told(*asked, "--local")
    assert plain["value"] != local["value"]
    assert local["validation"] == []
    site = open_site(kay.folder)
    [trained, compared] = rows_of(site, "charge")
    replies = site.folder / "replies"
    (replies / f"{trained.sha256}.json").write_bytes((replies / f"{compared.sha256}.json").read_bytes())
    assert kay.told(*asked, "--local")["error"] == "weights.local-weights-lost"
    (site.folder / "replies" / f"{trained.sha256}.json").unlink()
    assert kay.told(*asked, "--local")["error"] == "weights.local-weights-lost"


def test_who_has_no_budget_or_no_policy_for_it_is_told_before_anything_is_charged(
    kay: Hospital, sites: TableSites
) -> None:
    out, site = sites.folder / "local.json", open_site(kay.folder)
    assert personalise(kay, sites, out, "--epsilon", "40")["error"] == "policy.plan-forbidden"
    folder, key = str(store_of(sites).release_folder), key_of(sites).public_hex
    unsure = ("personalise", folder, "--coordinator", key, "--by", BY, "--out", str(out))
    assert kay.told(*unsure)["error"] == "policy.not-confirmed"
    # the training could be paid for, what compares it could not
    policy = site.folder / "policy.yaml"
    narrow = yaml.safe_load(policy.read_text()) | {"epsilon_lifetime": 2.5}
    policy.write_text(yaml.safe_dump(narrow))
    assert personalise(kay, sites, out, "--epsilon", "2")["error"] == "plan.would-be-refused"
    assert not out.exists()
    assert find_ledger(site) is None


def test_a_person_who_withdraws_is_told_of_the_model_that_stays(
    kay: Hospital, sites: TableSites, release: Release
) -> None:
    personalise(kay, sites, sites.folder / "local.json")
    site = open_site(kay.folder)
    [trained, _] = rows_of(site, "charge")
    ledger = require_ledger(site)
    member = sorted(ledger.members_of([trained]))[0]
    [saw] = models_that_saw(site, member)
    assert saw.startswith(local_run(release))
