"""A site's validation as the coordinator triggers it: whose rows, how much noise, what refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from client.answers.validate import answer_evaluate, measure_table
from practice_intake import ingest_with
from table_federation import write_table
from table_site import RELEASE, TableSites, copy_sites, known_noise

import client.answers.hello
from client.intake.accrue import accept_lock, accrue
from client.site.folder import open_site
from shared.contract.protocol import EvaluateReply, EvaluateRequest, vector_sha256
from shared.contract.release import Lock, write_lock
from shared.errors import OsteoFedError
from shared.measure.table.rows import sensitivity, table_spec
from shared.privacy.ledger_format import members_sha256
from shared.signing.canonical import hash_of
from shared.signing.code_hash import installed_code_hash
from shared.signing.keys import load_key

LOCKED = datetime(2020, 6, 1, tzinfo=UTC)


def answer(sites: TableSites, request: EvaluateRequest, name: str = "elm") -> EvaluateReply:
    released = answer_evaluate(sites.site(name), sites.gate(name), request)
    assert isinstance(released.message, EvaluateReply)
    return released.message


def lock_for(sites: TableSites, **changes: object) -> tuple[Lock, Path]:
    """A lock as the coordinator makes one, of the weights that the requests here carry."""
    plan = sites.plan
    lock = Lock.model_validate(
        {
            "release_sha256": RELEASE,
            "plan_sha256": plan.sha256,
            "weights_sha256": vector_sha256(sites.weights),
            "code_sha256": installed_code_hash(),
            "label_rule_sha256": hash_of(plan.settings.cohort.label.model_dump(mode="json")),
            "endpoint": plan.settings.task.endpoint,
            "endpoint_threshold": None,
            "minimum_patients": plan.settings.validation.prospective_patients,
            "locked_utc": LOCKED.isoformat(),
        }
        | changes
    )
    path = sites.folder / "lock.json"
    write_lock(path, lock, load_key(sites.folder / "coordinator" / "keys" / "coordinator.pem"))
    return lock, path


def accrue_later(sites: TableSites, lock_file: Path, rows: range, day: str = "2020-09-01") -> None:
    """The rows as exams of a later day, numbered as other patients."""
    archive = sites.folder / f"later-{rows.start}-{rows.stop}"
    write_table(archive / "clinical.csv", rows)
    table = archive / "clinical.csv"
    table.write_text(table.read_text().replace("2020-03-01", day).replace("P00", "Q00"))
    site = open_site(sites.folder / "sites" / "elm", clock=lambda: datetime(2021, 1, 1, tzinfo=UTC))
    accrue(site, accept_lock(site, lock_file), archive)


@pytest.mark.parametrize(
    ("name", "kind", "split"), [("elm", "internal", "internal"), ("hop", "external", None)]
)
def test_the_table_is_of_the_right_patients_plus_the_plans_noise(
    made: TableSites, tmp_path: Path, name: str, kind: str, split: str | None
) -> None:
    tables = []
    for value in (0.0, 1.0):
        sites = copy_sites(made, tmp_path / str(value))
        with known_noise(value) as drawn:
            reply = answer(sites, sites.evaluate_request(kind), name)
        tables.append(reply.table)
        assert drawn == [reply.table.size]
        assert (reply.status, reply.release_class) == ("measured", "dp")
    data = made.split(split, name)  # type: ignore[arg-type]
    exact = measure_table(made.plan, data, made.weights)
    np.testing.assert_allclose(tables[0], exact, atol=1e-6)
    assert exact[: 2 * made.plan.settings.validation.bins].sum() == len(data.arrays.patients)
    size = (made.plan.predicted.validation_noise_multiplier or 0) * sensitivity(
        table_spec(made.plan.settings)
    )
    assert size > 0.5
    np.testing.assert_allclose(tables[1] - tables[0], size, rtol=1e-5)


def test_the_measured_patients_are_charged_once_and_a_repeat_is_the_same(sites: TableSites) -> None:
    first = answer(sites, sites.evaluate_request())
    again = answer(sites, sites.evaluate_request())
    assert (first.table == again.table).all()
    [row] = [row for row in sites.gate().ledger.show() if row.kind == "charge"]
    assert row.members_sha256 == members_sha256(sites.split("internal").arrays.patients)
    assert row.noise_multiplier == sites.plan.predicted.validation_noise_multiplier


def test_a_second_release_under_one_plan_is_not_measured(sites: TableSites) -> None:
    answer(sites, sites.evaluate_request())
    other = sites.evaluate_request(release_sha256="e" * 64)
    assert sites.refused(answer_evaluate, other) == "privacy.round-repeated"


@pytest.mark.parametrize(
    ("name", "kind", "changes", "code"),
    [
        ("elm", "internal", {"plan_sha256": "b" * 64}, "plan.not-approved"),
        ("elm", "external", {}, "plan.wrong-role"),
        ("hop", "internal", {}, "plan.wrong-role"),
        ("elm", "everything", {}, "plan.wrong-role"),
        ("elm", "prospective", {}, "plan.no-lock"),
        ("elm", "prospective", {"lock_sha256": "a" * 64}, "plan.no-lock"),
        ("elm", "prospective", {"lock_sha256": "../site"}, "plan.no-lock"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(
    sites: TableSites, name: str, kind: str, changes: dict[str, object], code: str
) -> None:
    request = replace(sites.evaluate_request(kind), **changes)  # type: ignore[arg-type]
    assert sites.refused(answer_evaluate, request, name) == code


def test_a_policy_tightened_after_approval_stops_validation(sites: TableSites) -> None:
    sites.change_policy(allowed=["train"])
    assert sites.refused(answer_evaluate, sites.evaluate_request()) == "policy.purpose-forbidden"


def test_other_code_than_the_plans_measures_nothing(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = sites.evaluate_request()
    monkeypatch.setattr(client.answers.hello, "installed_code_hash", lambda: "9" * 64)
    assert sites.refused(answer_evaluate, request) == "plan.other-code"


def test_prospective_validation_waits_for_its_sample_size_then_measures_once(sites: TableSites) -> None:
    lock, path = lock_for(sites)
    request = sites.evaluate_request("prospective", lock_sha256=lock.sha256)
    needed = sites.plan.settings.validation.prospective_patients
    accrue_later(sites, path, range(300, 300 + needed - 1))
    waiting = answer(sites, request)
    assert (waiting.status, waiting.table.size, sites.charges()) == ("waiting", 0, 0)
    assert sites.gate().outbox.show()[-1].release_class == "status"
    accrue_later(sites, path, range(300, 300 + needed + 5))
    assert answer(sites, request).status == "measured"
    assert sites.charges() == 1


def test_a_locked_release_cannot_be_exchanged_for_another(sites: TableSites) -> None:
    lock, path = lock_for(sites)
    accrue_later(sites, path, range(300, 340))
    locked = sites.evaluate_request("prospective", lock_sha256=lock.sha256)
    for other in (
        replace(locked, weights=locked.weights + np.float32(1e-6)),
        replace(locked, release_sha256="e" * 64),
    ):
        assert sites.refused(answer_evaluate, other) == "protocol.not-the-locked-release"


def test_films_of_the_day_of_the_lock_or_before_do_not_count(sites: TableSites) -> None:
    lock, path = lock_for(sites)
    with pytest.raises(OsteoFedError) as caught:
        accrue_later(sites, path, range(300, 340), day="2020-06-01")
    assert caught.value.code == "intake.empty-cohort"
    request = sites.evaluate_request("prospective", lock_sha256=lock.sha256)
    assert answer(sites, request).status == "not-applicable"


def test_a_lock_of_another_coordinator_or_label_rule_is_not_accepted(sites: TableSites) -> None:
    _, path = lock_for(sites, label_rule_sha256="5" * 64)
    with pytest.raises(OsteoFedError) as caught:
        accrue_later(sites, path, range(300, 340))
    assert caught.value.code == "plan.other-label-rule"
    lock, path = lock_for(sites)
    write_lock(path, lock, load_key(sites.folder / "sites" / "hop" / "keys" / "signing.pem"))
    with pytest.raises(OsteoFedError) as caught:
        accrue_later(sites, path, range(340, 380))
    assert caught.value.code == "weights.bad-signature"


def test_whoever_was_in_any_version_of_the_cohort_is_not_accrued(sites: TableSites) -> None:
    site = open_site(sites.folder / "sites" / "elm", clock=lambda: datetime(2021, 1, 1, tzinfo=UTC))
    schema = sites.plan.settings.cohort
    before = set(sites.split(None).arrays.patients)
    write_table(sites.folder / "second" / "clinical.csv", range(500, 560))
    second = ingest_with(
        sites.folder / "second",
        store=site.cohorts,
        schema=schema,
        profile=site.settings.profile,
        pseudonyms=site.pseudonyms,
        linkage=site.linkage,
        clock=site.clock,
        allows_fewer=True,
    )
    assert second.cohort.version == 2
    assert not before & set(second.cohort.patients())
    _, path = lock_for(sites)
    archive = sites.folder / "seen-again" / "clinical.csv"
    write_table(archive, [*range(20), *range(300, 340)])  # twenty of version 1
    archive.write_text(archive.read_text().replace("2020-03-01", "2020-09-01"))
    report = accrue(site, accept_lock(site, path), archive.parent)
    assert len(report.cohort.patients()) == 40
    assert [(c.code, c.n) for c in report.counts] == [("intake.seen-in-training", 20)]
