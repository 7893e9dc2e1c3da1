"""Measuring a release with no connection: the same policy, ledger and gate; nothing else leaves."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from late_hospital import BY, SCHEMA, Hospital, new_hospital
from practice_offline import finish, key_of, measure, store_of, stranger
from table_federation import write_table
from table_site import TableSites

from client.answers.offline import plan_offline
from client.gate.ledger import require_ledger
from client.gate.outbox import Outbox
from client.site.folder import open_site
from shared.contract.plan import Plan
from shared.errors import OsteoFedError
from shared.privacy.ledger_format import LedgerRow


@pytest.fixture
def kay(sites: TableSites) -> Hospital:
    finish(sites)
    return stranger(sites.folder / "elsewhere")


def charges(kay: Hospital) -> list[LedgerRow]:
    ledger = require_ledger(open_site(kay.folder))
    return [row for row in ledger.show() if row.kind == "charge"]


def test_a_table_is_charged_once_a_day_and_logged_before_its_file(
    kay: Hospital, sites: TableSites
) -> None:
    out = sites.folder / "external.json"
    told = measure(kay, sites, out, "--epsilon", "1.5")
    site = open_site(kay.folder)
    assert told["key, to tell over another channel"] == site.key.public_hex
    [charge] = charges(kay)
    assert (charge.purpose, charge.charge_class) == ("evaluate.external", "dp")
    first = json.loads(out.read_bytes())
    outcome = require_ledger(open_site(kay.folder)).show()[-1]
    assert (outcome.kind, outcome.charge_index) == ("outcome", charge.index)
    assert first["reply"]["ledger_head"] == outcome.sha256
    measure(kay, sites, out, "--epsilon", "1.5")
    assert json.loads(out.read_bytes()) == first
    assert len(charges(kay)) == 1
    gone = Outbox(site.folder / "outbox", site.folder / "replies").show()
    assert [(each.message, each.release_class) for each in gone] == [
        ("SumReply", "dp"),
        ("ExternalFile", "status"),
        ("SumReply", "repeat"),
        ("ExternalFile", "status"),
    ]
    assert 1.4 < float(gone[0].epsilon or 0) <= 1.5
    stated = kay.told("statement", charge.plan_sha256, "--out", str(sites.folder / "statement.json"))
    assert stated["plan_sha256"] == charge.plan_sha256
    assert stated["role"] == "external"
    measure(kay, sites, out, "--epsilon", "1")
    assert len(charges(kay)) == 2, "another price is another table"


def test_what_the_policy_or_nobody_allows_is_not_measured(kay: Hospital, sites: TableSites) -> None:
    out = sites.folder / "external.json"
    assert measure(kay, sites, out, "--epsilon", "3.5")["error"] == "policy.plan-forbidden"
    release = str(store_of(sites).release_folder)
    key = key_of(sites).public_hex
    unsure = ("validate", release, "--coordinator", key, "--by", BY)
    assert kay.told(*unsure)["error"] == "policy.not-confirmed"
    assert kay.told(*unsure[:-1], "Ada", "--yes")["error"] == "plan.unnamed-approval"
    assert kay.told("validate", release, "--by", BY, "--yes")["error"] == "plan.no-coordinator"
    other = ("--coordinator", open_site(kay.folder).key.public_hex, "--yes")
    assert kay.told("validate", release, "--by", BY, *other)["error"] == "weights.bad-signature"
    policy = kay.folder / "policy.yaml"
    narrow = yaml.safe_load(policy.read_text()) | {"minimum_cell": 500}
    policy.write_text(yaml.safe_dump(narrow))
    assert measure(kay, sites, out)["error"] == "policy.cohort-too-small"
    assert not out.exists()
    assert not [row for row in require_ledger(open_site(kay.folder)).show() if row.kind == "charge"]


def test_who_trained_a_release_is_no_stranger_to_it_under_any_name(sites: TableSites) -> None:
    sites.answer(sites.train_request())
    release = finish(sites)
    with pytest.raises(OsteoFedError) as caught:
        plan_offline(sites.site("elm"), release, epsilon=1.0)
    assert caught.value.code == "plan.measures-its-training"
    planned = plan_offline(sites.site("hop"), release, epsilon=1.0)
    assert planned.plan.entry("hop").role == "external"


def test_who_trained_one_release_may_measure_another_offline(sites: TableSites) -> None:
    sites.answer(sites.train_request())
    release = finish(sites)
    others = tuple(entry for entry in release.plan.roster if entry.site != "elm")
    plan = Plan.model_validate(dict(release.plan.model_dump(), run="of-others", roster=others))
    planned = plan_offline(sites.site("elm"), replace(release, plan=plan), epsilon=1.0)
    assert planned.plan.entry("elm").role == "external"


def test_a_cohort_without_any_label_writes_no_file(sites: TableSites) -> None:
    finish(sites)
    kay = new_hospital(sites.folder / "kay")
    table = sites.folder / "unlabelled" / "clinical.csv"
    write_table(table, range(300, 420), word_of={0: "", 1: ""})
    kay.must("ingest", str(table.parent), "--schema", str(SCHEMA))
    out = sites.folder / "external.json"
    assert measure(kay, sites, out)["error"] == "intake.nobody-to-measure"
    assert not out.exists()


def test_a_message_that_names_the_offline_plan_is_refused(sites: TableSites) -> None:
    finish(sites)
    hop = Hospital(sites.site("hop").folder)
    out = sites.folder / "external.json"
    release = str(store_of(sites).release_folder)
    told = hop.told("validate", release, "--by", BY, "--out", str(out), "--yes")
    assert told["file"] == str(out)
    named = json.loads(out.read_bytes())["reply"]["plan_sha256"]
    asked = sites.measure_request("external", plan_sha256=named)
    assert sites.refused(asked, "hop") == "plan.not-approved"
