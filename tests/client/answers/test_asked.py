"""Whose rows a stage adds: accrued patients of the accepted lock, first exams, releases that fit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from practice_intake import ingest_with
from practice_lock import ACCEPTED_BY, ANSWERED, LOCKED, accrue_later, lock_for
from practice_offline import approve_validation, finish
from practice_plan import plan_of
from table_federation import write_table
from table_site import RELEASE, TableSites, known_noise

import client.answers.asked as asking
import client.site.declared
from client.answers.answer import answer_sum
from client.answers.asked import AskedPatients, find_patients, first_exams_of
from client.cohort.assemble import assemble
from client.cohort.patients import load_nobody
from client.cohort.versions import current_cohort
from client.intake.accrue import accept_lock, accrue
from client.site.folder import open_site
from server.encoders.file import CONFIG_WEIGHTS
from server.federation.compose import compose_settings
from shared.contract.protocol import SumReply, SumRequest
from shared.contract.release import write_lock
from shared.errors import OsteoFedError
from shared.exam.schema import Split
from shared.signing.countersign import countersign
from shared.signing.keys import load_key
from shared.stages.description import FirstExams
from shared.stages.explained import ExplainedPatients
from shared.stages.kinds import sum_of
from shared.train.patients import PatientBatch


def answer(sites: TableSites, request: SumRequest, name: str = "elm") -> SumReply:
    released = sites.answer(request, name)
    assert isinstance(released.message, SumReply)
    return released.message


def found(sites: TableSites, request: SumRequest, name: str = "elm") -> AskedPatients:
    return find_patients(sites.site(name), sites.plan, sites.plan.stage(request.stage), request)


@pytest.mark.parametrize(
    ("name", "stage", "split"),
    [("elm", "train", "train"), ("elm", "internal", "internal"), ("hop", "external", None)],
)
def test_a_stage_gets_the_labelled_patients_of_its_split_and_their_batch(
    made: TableSites, name: str, stage: str, split: Split | None
) -> None:
    request = made.train_request() if stage == "train" else made.measure_request(stage)
    asked, data = found(made, request, name), made.split(split, name)
    assert asked.status == "measured"
    assert asked.members == data.arrays.patients
    assert isinstance(asked.patients, PatientBatch)
    assert len(asked.patients) == len(asked.members) > 0
    for mine, theirs in zip(asked.patients.tensors(), data.batch.tensors(), strict=True):
        assert mine.equal(theirs)


@pytest.mark.parametrize("stage", ["train", "internal", "description"])
def test_more_patients_than_the_declared_size_has_places_for_are_not_asked_at_all(
    made_described: TableSites, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    is_train = stage == "train"
    request = made_described.train_request() if is_train else made_described.measure_request(stage)
    n = len(found(made_described, request).members)
    for places, is_refused in ((n, False), (n - 1, True)):
        monkeypatch.setattr(client.site.declared, "capacity_of", lambda *_, k=places, **__: k)
        if not is_refused:
            assert len(found(made_described, request).members) == n
            continue
        with pytest.raises(OsteoFedError) as caught:
            found(made_described, request)
        assert caught.value.code == "intake.over-capacity"


def test_a_description_gets_the_first_exam_of_everybody_and_no_weights(
    made_described: TableSites,
) -> None:
    asked = found(made_described, made_described.measure_request("description"))
    everybody = made_described.split(None).arrays
    assert asked.members == everybody.patients
    assert isinstance(asked.patients, FirstExams)
    assert len(asked.patients) == 150
    assert (asked.patients.target == everybody.target).all()  # one exam each


def test_of_several_exams_the_earliest_with_a_label_counts(made_described: TableSites) -> None:
    settings = made_described.plan.settings
    cohort = current_cohort(made_described.site(), settings.cohort.name)
    arrays = assemble(cohort, None, schema=settings.cohort, task=settings.task)
    fields, target = arrays.fields.copy(), arrays.target.copy()
    mask = arrays.exam_mask.copy()
    # exams 0, 1 and 2 become one patient's, in this order of days; the first has no label
    index = np.maximum(arrays.patient_index - 2, 0)
    mask[0], target[0] = False, np.nan
    fields[0] = fields[2] = 100.0
    merged = replace(
        arrays,
        patients=arrays.patients[2:],
        fields=fields,
        target=target,
        exam_mask=mask,
        patient_index=index,
    )
    first = first_exams_of(merged)
    kept = np.r_[1, 3 : len(target)]
    assert len(first) == len(arrays.patients) - 2
    assert (first.fields == arrays.fields[kept]).all()
    assert (first.field_mask == arrays.field_mask[kept]).all()
    assert (first.target == arrays.target[kept]).all()


def answer_on(sites: TableSites, request: SumRequest, at: datetime) -> SumReply:
    """The answer of a site whose clock says so."""
    site = open_site(sites.site().folder, clock=lambda: at)
    released = answer_sum(site, sites.gate(), request)
    assert isinstance(released.message, SumReply)
    return released.message


def come_after_lock(sites: TableSites, n: int) -> SumRequest:
    """A request for who came after a lock that was accepted; so many did."""
    lock, path = lock_for(sites)
    accept_lock(open_site(sites.site().folder, clock=lambda: LOCKED), path, by=ACCEPTED_BY)
    if n:
        accrue_later(sites, path, range(300, 300 + n))
    return sites.measure_request("prospective", lock_sha256=lock.sha256)


@pytest.mark.parametrize("n", [0, 1, 9, 30, 60])
def test_who_came_after_a_lock_is_answered_from_a_day_on_whatever_their_number(
    sites: TableSites, n: int
) -> None:
    request = come_after_lock(sites, n)
    for at in (LOCKED, ANSWERED - timedelta(seconds=1)):
        waiting = answer_on(sites, request, at)
        assert (waiting.status, waiting.total.size, sites.charges()) == ("waiting", 0, 0)
    assert sites.gate().outbox.show()[-1].release_class == "status"
    measured = answer_on(sites, request, ANSWERED)
    assert (measured.status, sites.charges()) == ("measured", 1)
    assert measured.total.size == answer(sites, sites.measure_request("internal")).total.size
    row = next(row for row in sites.gate().ledger.show() if row.kind == "charge")
    assert (row.stage, row.purpose) == ("prospective", "evaluate.prospective")
    assert sites.gate().ledger.charges_of("nobody's key") == ()


def test_no_day_on_which_one_more_came_is_seen_by_who_asks_every_day(sites: TableSites) -> None:
    request = come_after_lock(sites, 0)
    told: list[tuple[object, ...]] = []
    for days in (1, 2, 9, 10, 11, 29, 30, 31):  # some came before each question
        path = sites.folder / "lock.json"
        accrue_later(sites, path, range(300, 300 + days))
        reply = answer_on(sites, request, LOCKED + timedelta(days=days))
        told.append((reply.status, reply.total.size, reply.ledger_head))
    assert len(set(told)) == 1


def test_nobody_after_a_lock_is_noise_alone_and_a_measure_of_bone_reads_nobody_too(
    sites: TableSites, tmp_path: Path
) -> None:
    request = come_after_lock(sites, 0)
    with known_noise(0.0):
        assert not answer_on(sites, request, ANSWERED).total.any()
    for measure, n_hidden in (("bone", 2), ("maps", 0)):
        plan = plan_of(compose_settings([f"measure={measure}", "fusion=linear"]), {"alder": 100})
        stage = plan.stage(f"{measure}_internal")
        file = tmp_path / measure / "tiny.safetensors"
        site = SimpleNamespace(
            name="alder",
            folder=file.parent,
            cohorts=file.parent / "cohorts",
            encoder_file={plan.encoder_sha256: CONFIG_WEIGHTS / file.name}.__getitem__,
        )
        data = load_nobody(site, plan, name="hips-after-a-lock")  # type: ignore[arg-type]
        nobody = asking._as_read(site, plan, stage, data)  # type: ignore[arg-type]
        assert isinstance(nobody, ExplainedPatients)
        assert (len(nobody.own), len(nobody.hidden), nobody.bone.shape[0]) == (0, n_hidden, 0)
        assert nobody.is_assessed().shape == (0,)
        asked = sum_of(plan, plan.stage(f"{measure}_internal"), encoder_file=None)
        total = asked.answer(
            asked.start().vector,
            nobody,
            round_number=1,
            declared_patients=100,
            draw_normals=lambda n: torch.zeros(n, dtype=torch.float64),
        )
        assert not np.asarray(total).any()


def test_a_locked_release_cannot_be_exchanged_for_another(sites: TableSites) -> None:
    lock, path = lock_for(sites)
    accrue_later(sites, path, range(300, 340))
    locked = sites.measure_request("prospective", lock_sha256=lock.sha256)
    for other in (
        replace(locked, vector=locked.vector + np.float32(1e-6)),
        replace(locked, release_sha256="e" * 64),
    ):
        assert sites.refused(other) == "protocol.not-the-locked-release"


def test_films_of_the_day_of_the_lock_or_before_do_not_count(sites: TableSites) -> None:
    lock, path = lock_for(sites)
    with pytest.raises(OsteoFedError) as caught:
        accrue_later(sites, path, range(300, 340), day="2020-06-01")
    assert caught.value.code == "intake.empty-cohort"
    request = sites.measure_request("prospective", lock_sha256=lock.sha256)
    assert len(found(sites, request).members) == 0


def test_films_of_before_a_lock_was_accepted_here_do_not_count_whatever_day_it_names(
    sites: TableSites,
) -> None:
    _, path = lock_for(sites, locked_utc="2015-01-01T00:00:00+00:00")
    with pytest.raises(OsteoFedError) as caught:
        accrue_later(sites, path, range(300, 340), accepted=datetime(2020, 9, 1, 23, 59, tzinfo=UTC))
    assert caught.value.code == "intake.empty-cohort", "acquired on the day of the acceptance"
    with pytest.raises(OsteoFedError) as caught:  # an acceptance is not moved to an earlier day
        accrue_later(sites, path, range(300, 341), accepted=datetime(2015, 1, 2, tzinfo=UTC))
    assert caught.value.code == "intake.empty-cohort"
    accrue_later(sites, path, range(300, 342), day="2020-09-02")


def test_a_lock_of_a_time_to_come_or_by_nobody_or_ahead_of_the_ledger_is_not_accepted(
    sites: TableSites,
) -> None:
    for changes, by, code in (
        ({}, "Ada", "policy.unnamed-person"),
        ({"locked_utc": "2020-06-01T00:00:01+00:00"}, ACCEPTED_BY, "plan.lock-in-future"),
        ({"ledger_heads": {"elm": "5" * 64}}, ACCEPTED_BY, "ledger.behind"),
    ):
        _, path = lock_for(sites, **changes)
        with pytest.raises(OsteoFedError) as caught:
            accept_lock(open_site(sites.site().folder, clock=lambda: LOCKED), path, by=by)
        assert caught.value.code == code
    assert all(row.kind != "accepted" for row in sites.gate().ledger.show())


def test_an_acceptance_is_one_row_behind_the_head_that_its_lock_names(sites: TableSites) -> None:
    sites.answer(sites.train_request())
    head = sites.gate().ledger.head()
    lock, path = lock_for(sites, ledger_heads={"elm": head.sha256})
    for _ in range(2):
        accept_lock(open_site(sites.site().folder, clock=lambda: LOCKED), path, by=ACCEPTED_BY)
    rows = sites.gate().ledger.show()
    [row] = [row for row in rows if row.kind == "accepted"]
    assert row.index == head.index + 1
    assert (row.lock_sha256, row.approved_by) == (lock.sha256, ACCEPTED_BY)
    assert (row.plan_sha256, row.utc) == (sites.plan_sha256, LOCKED.isoformat())


def test_a_lock_that_names_no_head_is_not_accepted_once_its_maker_has_countersigned_one(
    sites: TableSites,
) -> None:
    sites.answer(sites.train_request())
    head = sites.gate().ledger.head().sha256
    key = load_key(sites.folder / "coordinator" / "keys" / "coordinator.pem")
    seen = countersign(key, site="elm", plan_sha256=sites.plan_sha256, ledger_head=head)
    sites.answer(sites.train_request(round=3, ledger_head=head, countersignature=seen))
    _, path = lock_for(sites)
    with pytest.raises(OsteoFedError) as caught:
        accept_lock(open_site(sites.site().folder, clock=lambda: LOCKED), path, by=ACCEPTED_BY)
    assert caught.value.code == "ledger.unseen-lock"


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
    then = open_site(site.folder, clock=lambda: LOCKED)
    report = accrue(site, accept_lock(then, path, by=ACCEPTED_BY), archive.parent)
    assert len(report.cohort.patients()) == 40
    assert [(c.code, c.n) for c in report.counts] == [("intake.seen-in-training", 20)]


@pytest.mark.parametrize(
    ("stage", "changes", "code"),
    [
        ("train", {"release_sha256": RELEASE}, "protocol.unwanted-release"),
        ("train", {"lock_sha256": RELEASE}, "protocol.unwanted-release"),
        ("description", {"release_sha256": RELEASE}, "protocol.unwanted-release"),
        ("description", {"lock_sha256": RELEASE}, "protocol.unwanted-release"),
        ("internal", {"lock_sha256": RELEASE}, "protocol.unwanted-release"),
        ("internal", {"release_sha256": ""}, "protocol.no-such-release"),
        ("internal", {"release_sha256": "F" * 64}, "protocol.no-such-release"),
        ("internal", {"release_sha256": "f" * 65}, "protocol.no-such-release"),
        ("prospective", {"lock_sha256": ""}, "plan.no-lock"),
    ],
)
def test_a_request_names_a_release_exactly_where_one_is_measured(
    made_described: TableSites, stage: str, changes: dict[str, object], code: str
) -> None:
    plain = (
        made_described.train_request() if stage == "train" else made_described.measure_request(stage)
    )
    with pytest.raises(OsteoFedError) as caught:
        found(made_described, replace(plain, **changes))  # type: ignore[arg-type]
    assert caught.value.code == code


def test_under_a_validation_plan_only_the_release_that_it_names_is_measured(
    sites: TableSites,
) -> None:
    release = finish(sites)
    plan = approve_validation(sites, release, "hop", "external")
    asked = sites.measure_request("external", plan_sha256=plan.sha256)
    named = replace(asked, release_sha256=release.sha256, vector=release.weights)
    assert sites.refused(replace(named, release_sha256="9" * 64), "hop") == "protocol.wrong-release"
    other = replace(named, vector=release.weights + np.float32(1e-3))
    assert sites.refused(other, "hop") == "protocol.wrong-release"
    reply = answer(sites, named, "hop")
    assert (reply.status, reply.release_sha256) == ("measured", release.sha256)
    assert sites.charges("hop") == 1


def test_who_trained_a_release_is_not_measured_as_a_stranger_to_it(sites: TableSites) -> None:
    release = finish(sites)
    plan = approve_validation(sites, release, "elm", "external")
    asked = sites.measure_request("external", plan_sha256=plan.sha256)
    named = replace(asked, release_sha256=release.sha256, vector=release.weights)
    assert sites.refused(named) == "plan.measures-its-training"
    later = approve_validation(sites, release, "elm", "training")
    assert [stage.name for stage in later.stages] == ["prospective"]
    named = replace(named, plan_sha256=later.sha256, stage="prospective")
    assert sites.refused(named) == "plan.no-lock"


def test_who_trained_a_release_accrues_only_beside_its_cohort(sites: TableSites) -> None:
    lock, path = lock_for(sites)
    shutil.rmtree(sites.site().cohorts)
    with pytest.raises(OsteoFedError) as caught:
        accrue_later(sites, path, range(260, 300))
    assert caught.value.code == "intake.no-cohort"
    assert not list(sites.site().cohorts.glob(f"*{lock.sha256[:12]}*/v*"))


@pytest.mark.parametrize(("measure", "reads"), [("bone", "hidden"), ("maps", "maps"), ("errors", "")])
def test_a_measure_of_bone_gets_the_split_with_its_masks_and_another_its_batch(
    measure: str, reads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(compose_settings([f"measure={measure}", "fusion=linear"]), {"alder": 100})
    stage, data = plan.stage(f"{measure}_internal"), SimpleNamespace(batch="the batch")
    told: list[str] = []

    def explain(*asked: object, reads: str) -> str:
        assert asked == ("site", plan, data)
        told.append(reads)
        return "with masks"

    monkeypatch.setattr(asking, "explain_split", explain)
    expected = "with masks" if reads else "the batch"
    assert asking._as_read("site", plan, stage, data) == expected
    assert told == [reads] * bool(reads)
