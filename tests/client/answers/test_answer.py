"""A site's answer to a request for a sum: whose rows, how much noise, charged to whom, what refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from practice_tables import sum_table
from table_site import TableSites, copy_sites, found_table_sites, known_noise

import client.site.approved
import shared.stages.gradient
from client.answers.asked import first_exams_of
from client.cohort.assemble import ExamArrays, assemble
from client.cohort.versions import current_cohort
from shared.contract.protocol import Refusal, SumReply, SumRequest, vector_sha256
from shared.contract.stages import DescriptionStage, TableStage
from shared.exam.schema import Split
from shared.measure.description.reading import read_description
from shared.measure.description.rows import contributions as describe_rows
from shared.measure.description.rows import description_spec, withhold_small_groups
from shared.measure.description.rows import sensitivity as description_sensitivity
from shared.measure.table.rows import contributions
from shared.measure.table.spec import sensitivity, table_spec
from shared.model.build import build_model
from shared.model.weights import load_flat, trainable
from shared.privacy.accountant import epsilon_of
from shared.privacy.events import GaussianEvent
from shared.privacy.ledger_format import LedgerRow, members_sha256
from shared.stages.description import DescriptionSum
from shared.stages.table import TableSum
from shared.train.loss import make_patient_loss
from shared.train.update import score_patients


def answer(sites: TableSites, request: SumRequest, name: str = "elm") -> SumReply:
    released = sites.answer(request, name)
    assert isinstance(released.message, SumReply)
    return released.message


def charges(sites: TableSites, name: str = "elm") -> list[LedgerRow]:
    return [row for row in sites.gate(name).ledger.show() if row.kind == "charge"]


# Training


def sum_by_hand(sites: TableSites, clip_norm: float) -> np.ndarray:
    """Each training patient's gradient by plain autograd, clipped, summed."""
    settings = sites.plan.settings
    batch, loss = sites.split("train").batch, make_patient_loss(settings.task)
    model = build_model(settings, generator_seed=0)
    load_flat(model, sites.weights)
    parameters = [weight for _, weight in trainable(model)]
    total = np.zeros(sites.weights.size)
    for index in range(len(batch)):
        gradients = torch.autograd.grad(loss(model, batch.patient(index)), parameters)
        flat = torch.cat([part.reshape(-1) for part in gradients]).double().numpy()
        total += flat * min(1.0, clip_norm / np.linalg.norm(flat))
    return total


def test_a_step_is_the_clipped_sum_over_the_declared_size_and_nothing_else(sites: TableSites) -> None:
    stage = sites.training
    with known_noise(0.0):
        reply = answer(sites, sites.train_request())
    divisor = sites.plan.entry("elm").declared_patients
    expected = -stage.learning_rate / divisor * sum_by_hand(sites, stage.clip_norm)
    np.testing.assert_allclose(reply.total, expected, rtol=1e-4, atol=1e-7)
    assert (reply.stage, reply.round, reply.status) == ("train", 2, "measured")
    assert (reply.release_class, reply.total.dtype) == ("dp", np.float32)
    assert reply.vector_sha256 == vector_sha256(sites.weights)


def test_noise_of_the_plans_size_reaches_every_weight_of_the_update(
    made: TableSites, tmp_path: Path
) -> None:
    updates = []
    for value in (0.0, 1.0):
        sites = copy_sites(made, tmp_path / str(value))
        with known_noise(value) as drawn:
            updates.append(answer(sites, sites.train_request()).total)
        assert sum(drawn) == updates[-1].size
    stage = made.training
    step = stage.learning_rate / made.plan.entry("elm").declared_patients
    size = step * stage.noise_multiplier * stage.clip_norm
    assert size > 0.005
    np.testing.assert_allclose(updates[1] - updates[0], -size, rtol=1e-4)


def test_noise_comes_from_the_operating_system_and_never_repeats(
    made: TableSites, tmp_path: Path
) -> None:
    updates = [
        answer(copy, copy.train_request()).total
        for copy in (copy_sites(made, tmp_path / "first"), copy_sites(made, tmp_path / "second"))
    ]
    assert (updates[0] != updates[1]).mean() > 0.99


@pytest.fixture(scope="module")
def made_summing(tmp_path_factory: pytest.TempPathFactory) -> TableSites:
    """Sites of a plan whose sums are folded at the coordinator, to be looked at only."""
    return found_table_sites(tmp_path_factory.mktemp("summing"), "federation.fold=coordinator")


def test_folded_at_the_coordinator_the_sum_itself_leaves_on_the_noises_lattice(
    made_summing: TableSites, tmp_path: Path
) -> None:
    totals = []
    for value in (0.0, 1.0):
        sites = copy_sites(made_summing, tmp_path / str(value))
        with known_noise(value) as drawn:
            totals.append(answer(sites, sites.train_request()).total)
        assert drawn == [totals[-1].size]
    stage = made_summing.training
    assert (stage.fold, stage.clip_norm, totals[0].dtype) == ("coordinator", 0.5, np.float64)
    # neither learning rate nor divisor: the coordinator's step is over all sites together
    expected = sum_by_hand(made_summing, stage.clip_norm)
    np.testing.assert_allclose(totals[0], expected, rtol=1e-4, atol=1e-6)
    steps = totals[1] * 2.0**31  # spacing C·2^-30 = 2^-31
    assert (steps == np.round(steps)).all()
    size = stage.noise_multiplier * stage.clip_norm
    np.testing.assert_allclose(totals[1] - totals[0], size, atol=2.0**-31)


def test_everybody_in_the_training_split_is_charged_before_anybody_is_touched(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def train_update(*arguments: object, **names: object) -> np.ndarray:
        seen.append((sites.charges(), len(arguments[2]), names["divisor"]))  # type: ignore[arg-type]
        return np.zeros(sites.weights.size, dtype=np.float32)

    monkeypatch.setattr(shared.stages.gradient, "train_update", train_update)
    answer(sites, sites.train_request())
    trained = sites.split("train").arrays.patients
    assert seen == [(1, len(trained), sites.plan.entry("elm").declared_patients)]
    [row] = charges(sites)
    assert row.members_sha256 == members_sha256(trained)
    assert (row.stage, row.round, row.purpose, row.charge_class) == ("train", 2, "train", "dp")
    noise = sites.training.noise_multiplier
    assert (row.noise_multiplier, row.sample_rate, row.steps) == (noise, 1.0, 1)


def test_a_repeated_request_gets_the_same_bytes_and_costs_nothing(sites: TableSites) -> None:
    first = answer(sites, sites.train_request())
    again = answer(sites, sites.train_request(ledger_head="", countersignature=""))
    assert (again.total == first.total).all()
    assert again.signature == first.signature
    assert sites.charges() == 1


def test_the_same_round_with_other_weights_is_refused(sites: TableSites) -> None:
    answer(sites, sites.train_request())
    other = sites.train_request(vector=sites.weights + np.float32(1e-3))
    assert sites.refused(other) == "privacy.round-repeated"


def test_round_1_starts_from_the_weights_that_the_plan_names_and_from_no_others(
    sites: TableSites,
) -> None:
    moved = sites.initial
    moved[0] = np.nextafter(moved[0], np.float32(1))
    for vector in (sites.weights, moved):
        code = sites.refused(sites.train_request(round=1, vector=vector))
        assert code == "protocol.wrong-initial-weights"
    assert answer(sites, sites.train_request(round=1)).round == 1


@pytest.mark.parametrize(
    ("name", "changes", "code"),
    [
        ("elm", {"plan_sha256": "b" * 64}, "plan.not-approved"),
        ("elm", {"round": 0}, "protocol.no-such-round"),
        ("elm", {"round": 4}, "protocol.no-such-round"),
        ("elm", {"stage": "retrain"}, "plan.no-such-stage"),
        ("elm", {"release_sha256": "e" * 64}, "protocol.unwanted-release"),
        ("elm", {"lock_sha256": "e" * 64}, "protocol.unwanted-release"),
        ("hop", {}, "plan.wrong-role"),
    ],
)
def test_a_request_that_does_not_fit_the_approved_plan_is_refused(
    sites: TableSites, name: str, changes: dict[str, object], code: str
) -> None:
    assert sites.refused(sites.train_request(**changes), name) == code


def with_one(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda weights: np.concatenate([[np.float32(value)], weights[1:]]).astype(weights.dtype)


@pytest.mark.parametrize("stage", ["train", "internal"])
@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (with_one(np.nan), "protocol.unsound-weights"),
        (with_one(-np.inf), "protocol.unsound-weights"),
        (lambda weights: weights.astype(np.float64), "protocol.unsound-weights"),
        (lambda weights: weights[:-1], "protocol.wrong-shape"),
        (lambda weights: np.append(weights, np.float32(0)), "protocol.wrong-shape"),
        (lambda weights: weights[:0], "protocol.wrong-shape"),
        (with_one(1000.1), "protocol.weights-too-large"),
        (with_one(-1e30), "protocol.weights-too-large"),
    ],
)
def test_a_state_that_could_only_break_arithmetic_is_refused_before_a_patient_is_looked_at(
    sites: TableSites,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    spoil: Callable[[np.ndarray], np.ndarray],
    code: str,
) -> None:
    def look(*_: object) -> None:
        raise AssertionError("a patient was looked at")

    vector = spoil(sites.weights)
    request = (
        sites.train_request(vector=vector)
        if stage == "train"
        else sites.measure_request(stage, vector=vector)
    )
    monkeypatch.setattr("client.answers.answer.find_patients", look)
    assert sites.refused(request) == code


def test_a_weight_as_large_as_the_plan_allows_is_answered(sites: TableSites) -> None:
    assert sites.plan.settings.caps.weight_max == 1000.0
    sites.answer(sites.train_request(vector=with_one(1000.0)(sites.weights)))
    assert sites.charges() == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"epsilon_per_run": 0.5, "epsilon_lifetime": 0.5}, "policy.plan-forbidden"),
        ({"allowed": ["evaluate.internal"]}, "policy.plan-forbidden"),
    ],
)
def test_a_policy_tightened_after_approval_stops_even_a_repeated_request(
    sites: TableSites, change: dict[str, object], code: str
) -> None:
    first, second = sites.train_request(), sites.train_request(round=3)
    answer(sites, first)
    sites.change_policy(**change)
    assert sites.refused(first) == code
    assert sites.refused(second) == code


def test_a_cohort_below_the_policys_minimum_is_not_trained(sites: TableSites) -> None:
    sites.change_policy(minimum_cohort_patients=1000)
    assert sites.refused(sites.train_request()) == "policy.cohort-too-small"


@pytest.mark.parametrize("stage", ["train", "internal"])
def test_a_site_with_other_code_than_the_plans_answers_nothing(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    request = sites.train_request() if stage == "train" else sites.measure_request(stage)
    monkeypatch.setattr(client.site.approved, "installed_code_hash", lambda: "9" * 64)
    assert sites.refused(request) == "plan.other-code"


def test_a_charge_whose_training_failed_is_not_given_back(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a patient's value")

    request = sites.train_request()
    with monkeypatch.context() as patch:
        patch.setattr(shared.stages.gradient, "train_update", fail)
        first = sites.answer(request).message
    assert isinstance(first, Refusal)
    assert sites.answer(request).message == first, "a refusal after noise was drawn is the answer"
    assert [row.status for row in sites.gate().ledger.show()][-1] == "osteofed.internal"
    assert sites.charges() == 1


# Validation


def table_stage(sites: TableSites, name: str) -> TableStage:
    stage = sites.plan.stage(name)
    assert isinstance(stage, TableStage)
    return stage


@pytest.mark.parametrize(
    ("name", "kind", "split"), [("elm", "internal", "internal"), ("hop", "external", None)]
)
def test_the_table_is_of_the_right_patients_plus_the_plans_noise(
    made: TableSites, tmp_path: Path, name: str, kind: str, split: Split | None
) -> None:
    tables = []
    for value in (0.0, 1.0):
        sites = copy_sites(made, tmp_path / str(value))
        with known_noise(value) as drawn:
            reply = answer(sites, sites.measure_request(kind), name)
        tables.append(reply.total)
        assert drawn == [reply.total.size]
        assert (reply.status, reply.release_class) == ("measured", "dp")
    data, settings, stage = made.split(split, name), made.plan.settings, table_stage(made, kind)
    spec = table_spec(settings, stage)
    output, label = score_patients(settings, data.batch, made.weights)
    assert settings.task.kind == "classification"
    assert settings.cohort.label.kind == "class"
    exact = sum_table(contributions(spec, outputs=output, label=label))
    np.testing.assert_allclose(tables[0], exact, atol=1e-6)
    assert exact[: 2 * stage.bins].sum() == len(data.arrays.patients)
    size = stage.noise_of(1) * sensitivity(spec)
    assert size > 0.5
    np.testing.assert_allclose(tables[1] - tables[0], size, rtol=1e-5)
    assert TableSum(made.plan, stage, None).noise_sd == pytest.approx(size)


def test_the_measured_patients_are_charged_once_and_a_repeat_is_the_same(sites: TableSites) -> None:
    first = answer(sites, sites.measure_request())
    again = answer(sites, sites.measure_request())
    assert (first.total == again.total).all()
    [row] = charges(sites)
    assert row.members_sha256 == members_sha256(sites.split("internal").arrays.patients)
    assert (row.stage, row.purpose) == ("internal", "evaluate.internal")
    assert row.noise_multiplier == table_stage(sites, "internal").noise_of(1)
    assert (row.sample_rate, row.steps) == (1.0, 1)


def test_a_second_release_under_one_plan_is_not_measured(sites: TableSites) -> None:
    answer(sites, sites.measure_request())
    other = sites.measure_request(release_sha256="e" * 64)
    assert sites.refused(other) == "privacy.round-repeated"


@pytest.mark.parametrize(
    ("name", "kind", "changes", "code"),
    [
        ("elm", "internal", {"plan_sha256": "b" * 64}, "plan.not-approved"),
        ("elm", "internal", {"round": 2}, "protocol.no-such-round"),
        ("elm", "internal", {"release_sha256": ""}, "protocol.no-such-release"),
        ("elm", "external", {}, "plan.wrong-role"),
        ("hop", "internal", {}, "plan.wrong-role"),
        ("elm", "everything", {}, "plan.no-such-stage"),
        ("elm", "description", {}, "plan.no-such-stage"),
        ("elm", "prospective", {}, "plan.no-lock"),
        ("elm", "prospective", {"lock_sha256": "a" * 64}, "plan.no-lock"),
        ("elm", "prospective", {"lock_sha256": "../site"}, "plan.no-lock"),
    ],
)
def test_a_request_for_a_table_that_does_not_fit_is_refused(
    sites: TableSites, name: str, kind: str, changes: dict[str, object], code: str
) -> None:
    request = replace(sites.measure_request(kind), **changes)  # type: ignore[arg-type]
    assert sites.refused(request, name) == code


def test_a_policy_tightened_after_approval_stops_validation(sites: TableSites) -> None:
    sites.change_policy(allowed=["train"])
    assert sites.refused(sites.measure_request()) == "policy.purpose-forbidden"


# Description


def everybody(sites: TableSites, name: str) -> ExamArrays:
    settings = sites.plan.settings
    cohort = current_cohort(sites.site(name), settings.cohort.name)
    return assemble(cohort, None, schema=settings.cohort, task=settings.task)


def description_of(sites: TableSites) -> tuple[DescriptionStage, DescriptionSum]:
    stage = sites.plan.stage("description")
    assert isinstance(stage, DescriptionStage)
    return stage, DescriptionSum(sites.plan, stage, None)


def described_exactly(sites: TableSites, arrays: ExamArrays) -> np.ndarray:
    """Everybody's row of the description, of one exam each, added one after the other."""
    settings = sites.plan.settings
    label, task = settings.cohort.label, settings.task
    assert label.kind == "class"
    assert task.kind == "classification"
    exams = first_exams_of(arrays)
    rows = describe_rows(
        description_of(sites)[1].spec,
        fields=exams.fields,
        field_mask=exams.field_mask,
        target=exams.target,
        is_positive=exams.target == label.classes.index(task.positive_class),
    )
    return np.asarray(sum(rows, np.zeros(rows.shape[1])))


@pytest.mark.parametrize("name", ["elm", "hop"])
def test_a_description_is_of_every_labelled_patient_plus_the_plans_noise(
    made_described: TableSites, tmp_path: Path, name: str
) -> None:
    tables = []
    for value in (0.0, 1.0):
        sites = copy_sites(made_described, tmp_path / str(value))
        with known_noise(value) as drawn:
            reply = answer(sites, sites.measure_request("description"), name)
        tables.append(reply.total)
        assert drawn == [reply.total.size]
        assert (reply.status, reply.release_class) == ("measured", "dp")
    settings, (stage, description) = made_described.plan.settings, description_of(made_described)
    spec = description_spec(settings, stage)
    arrays = everybody(made_described, name)
    exact = described_exactly(made_described, arrays)
    np.testing.assert_allclose(tables[0], exact, rtol=1e-5, atol=1e-5)
    found = read_description(tables[0], spec, noise_sd=0.0, minimum_cell=10)
    assert found.n_patients.value == pytest.approx(len(arrays.patients))
    assert found.n_patients.value == pytest.approx({"elm": 150, "hop": 110}[name])
    label, task = settings.cohort.label, settings.task
    assert label.kind == "class"
    assert task.kind == "classification"
    positive = label.classes.index(task.positive_class)
    assert found.prevalence.value == pytest.approx((arrays.target == positive).mean())
    first = settings.cohort.fields[0]
    assert first.kind == "number"
    raw = arrays.fields[:, 0] * first.reference_sd + first.reference_mean
    clipped = np.clip(raw, spec.fields[0].low, spec.fields[0].high)
    assert found.numbers[0].mean.value == pytest.approx(clipped.mean(), rel=1e-5)
    assert stage.noise_of(1) == pytest.approx(3.73, abs=0.02)
    size = stage.noise_of(1) * description_sensitivity(spec)
    np.testing.assert_allclose(tables[1] - tables[0], size, rtol=1e-5)
    assert description.noise_sd == pytest.approx(size)


def test_everybody_described_is_charged_once_and_a_repeat_is_the_same(described: TableSites) -> None:
    request = described.measure_request("description")
    first = answer(described, request)
    assert (answer(described, request).total == first.total).all()
    [row] = charges(described)
    members = everybody(described, "elm").patients
    assert row.members_sha256 == members_sha256(members)
    assert (row.purpose, row.charge_class) == ("evaluate.description", "dp")
    assert (row.stage, row.round) == ("description", 1)
    assert row.noise_multiplier == description_of(described)[0].noise_of(1)
    trained = set(described.split("train").arrays.patients)
    held_out = set(described.split("internal").arrays.patients)
    assert trained
    assert held_out
    assert trained | held_out <= set(members)
    sent = described.gate().outbox.show()[0]
    assert (sent.channel, sent.release_class) == ("evaluate.description", "dp")
    assert sent.epsilon == pytest.approx(1.0, abs=0.01)


def test_a_patient_of_the_held_out_split_pays_for_both_tables(described: TableSites) -> None:
    answer(described, described.measure_request("description"))
    answer(described, described.measure_request("internal"))
    plan = described.plan
    once = GaussianEvent(noise_multiplier=description_of(described)[0].noise_of(1))
    events = [once, GaussianEvent(noise_multiplier=table_stage(described, "internal").noise_of(1))]
    expected = epsilon_of(events, 1e-5)
    members = described.split("internal").arrays.patients
    ledger = described.gate().ledger
    assert ledger.run_epsilon(plan.sha256, members, delta=1e-5) == pytest.approx(expected)
    trained = epsilon_of(
        [once, GaussianEvent(noise_multiplier=described.training.noise_multiplier, steps=3)], 1e-5
    )
    dearest, predicted = max(expected, trained), plan.predicted
    assert predicted.dearest("training") == pytest.approx(dearest)
    assert predicted.training_epsilon is not None
    assert predicted.validation_epsilon is not None
    assert max(predicted.training_epsilon, predicted.validation_epsilon) < dearest
    assert predicted.dearest("external") == pytest.approx(expected)


def test_a_governed_description_is_exact_but_for_small_groups_and_names_who_approved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = found_table_sites(
        tmp_path,
        "privacy.epsilon=2",
        "validation.description_epsilon=1",
        "validation.release_class=governed",
    )
    sites.change_policy(allows_governed=True, governed_approved_by="Ada Byron")
    asked = sites.measure_request("description")
    sites.change_policy(allows_governed=False)
    assert sites.refused(asked) == "policy.plan-forbidden"
    sites.change_policy(allows_governed=True)
    assert sites.plan.predicted.description_epsilon is None
    arrays, spec = everybody(sites, "elm"), description_of(sites)[1].spec
    arrays.field_mask[:4, 1] = False
    monkeypatch.setattr("client.answers.asked.assemble", lambda *_, **__: arrays)
    with known_noise(1.0) as drawn:
        reply = answer(sites, asked)
    assert drawn == []
    exact = described_exactly(sites, arrays)
    assert (reply.total == withhold_small_groups(exact, spec, minimum_cell=10)).all()
    withheld = slice(spec.first_cells[1], spec.first_cells[2])
    assert (reply.total != exact).sum() == len(exact[withheld]) == 3
    assert (reply.total[withheld] != exact[withheld]).all()
    [row] = charges(sites)
    assert (row.charge_class, row.approved_by, row.event) == ("governed", "Ada Byron", None)


@pytest.mark.parametrize("stage", ["train", "internal", "description"])
@pytest.mark.parametrize("fault", ["short", "nan", "another precision"])
def test_a_total_of_another_length_or_kind_never_leaves(
    described: TableSites, monkeypatch: pytest.MonkeyPatch, stage: str, fault: str
) -> None:
    request = described.train_request() if stage == "train" else described.measure_request(stage)
    kind = {"train": "GradientSum", "internal": "TableSum", "description": "DescriptionSum"}[stage]
    room = {"train": "gradient", "internal": "table", "description": "description"}[stage]
    place = f"shared.stages.{room}.{kind}.answer"
    honest = {"train": np.float32, "internal": np.float64, "description": np.float64}[stage]

    def lie(asked: TableSum, *_: object, round_number: int, **__: object) -> np.ndarray:
        total = np.zeros(asked.bound(round_number).length, dtype=honest)
        if fault == "short":
            return total[:-1]
        if fault == "nan":
            total[-1] = np.nan
            return total
        return total.astype(np.float32 if honest is np.float64 else np.float64)

    monkeypatch.setattr(place, lie)
    refusal = described.answer(request).message
    assert isinstance(refusal, Refusal)
    expected = "update-unbounded" if fault == "nan" else "wrong-table"
    assert refusal.code == f"privacy.{expected}"
    assert described.charges() == 1, "it was charged, and is not given back"
    assert [each.message for each in described.gate().outbox.show()] == ["Refusal"]


def test_a_site_without_labelled_patients_says_so_for_nothing(
    described: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = everybody(described, "elm")
    nobody = replace(
        arrays,
        patients=(),
        exams=(),
        fields=arrays.fields[:0],
        field_mask=arrays.field_mask[:0],
        target=arrays.target[:0],
        exam_mask=arrays.exam_mask[:0],
        patient_index=arrays.patient_index[:0],
        exam_films=(),
    )
    monkeypatch.setattr("client.answers.asked.assemble", lambda *_, **__: nobody)
    reply = answer(described, described.measure_request("description"))
    assert (reply.status, reply.total.size) == ("not-applicable", 0)
    assert described.charges() == 0
