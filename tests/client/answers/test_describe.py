"""A site's description as the coordinator asks for it: whose rows, how much noise, who pays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from client.answers.describe import describe_patients
from client.answers.validate import answer_evaluate
from table_site import TableSites, copy_sites, found_table_sites, known_noise

from client.cohort.assemble import ExamArrays, assemble
from client.cohort.versions import current_cohort
from client.site.policy import check_plan, read_policy
from shared.contract.protocol import EvaluateReply, EvaluateRequest
from shared.errors import PlanError
from shared.measure.description.reading import read_description
from shared.measure.description.rows import description_spec, sensitivity, withhold_small_groups
from shared.privacy.accountant import epsilon_of
from shared.privacy.cost import predict_cost, run_epsilon
from shared.privacy.events import GaussianEvent
from shared.privacy.ledger_format import members_sha256

PRICES = ("privacy.epsilon=2", "validation.epsilon=2", "validation.description_epsilon=1")


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> TableSites:
    """Two sites that approved a plan with a description, to be looked at only."""
    return found_table_sites(tmp_path_factory.mktemp("described"), *PRICES)


@pytest.fixture
def sites(founded: TableSites, tmp_path: Path) -> TableSites:
    """The same, of this test's own."""
    return copy_sites(founded, tmp_path / "federation")


def request(sites: TableSites, **changes: object) -> EvaluateRequest:
    plain: dict[str, object] = {"release_sha256": "", "weights": np.zeros(0, dtype=np.float32)}
    return sites.evaluate_request("description", **(plain | changes))


def answer(sites: TableSites, name: str = "elm", **changes: object) -> EvaluateReply:
    asked = request(sites, **changes)
    released = answer_evaluate(sites.site(name), sites.gate(name), asked)
    assert isinstance(released.message, EvaluateReply)
    return released.message


def everybody(sites: TableSites, name: str) -> ExamArrays:
    settings = sites.plan.settings
    cohort = current_cohort(sites.site(name), settings.cohort.name)
    return assemble(cohort, None, schema=settings.cohort, task=settings.task)


@pytest.mark.parametrize("name", ["elm", "hop"])
def test_the_table_is_of_every_labelled_patient_plus_the_plans_noise(
    founded: TableSites, tmp_path: Path, name: str
) -> None:
    tables = []
    for value in (0.0, 1.0):
        sites = copy_sites(founded, tmp_path / str(value))
        with known_noise(value) as drawn:
            reply = answer(sites, name)
        tables.append(reply.table)
        assert drawn == [reply.table.size]
        assert (reply.status, reply.release_class) == ("measured", "dp")
    plan, spec = founded.plan, description_spec(founded.plan.settings)
    arrays = everybody(founded, name)
    np.testing.assert_allclose(
        tables[0], describe_patients(plan.settings, arrays), rtol=1e-5, atol=1e-5
    )
    found = read_description(tables[0], spec, noise_sd=0.0, minimum_cell=10)
    assert found.n_patients.value == pytest.approx(len(arrays.patients))
    assert found.n_patients.value == pytest.approx({"elm": 150, "hop": 110}[name])
    positive = plan.settings.cohort.label.classes.index(plan.settings.task.positive_class)
    assert found.prevalence.value == pytest.approx((arrays.target == positive).mean())
    first = plan.settings.cohort.fields[0]
    raw = arrays.fields[:, 0] * first.reference_sd + first.reference_mean
    clipped = np.clip(raw, spec.fields[0].low, spec.fields[0].high)
    assert found.numbers[0].mean.value == pytest.approx(clipped.mean(), rel=1e-5)
    noise = plan.predicted.description_noise_multiplier
    assert noise == pytest.approx(3.73, abs=0.02)
    np.testing.assert_allclose(tables[1] - tables[0], noise * sensitivity(spec), rtol=1e-5)


def test_of_several_exams_the_earliest_with_a_label_counts(founded: TableSites) -> None:
    arrays, settings = everybody(founded, "elm"), founded.plan.settings
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
    kept = np.r_[1, 3 : len(target)]
    alone = replace(
        arrays,
        patients=arrays.patients[2:],
        fields=arrays.fields[kept],
        field_mask=arrays.field_mask[kept],
        target=arrays.target[kept],
        exam_mask=arrays.exam_mask[kept],
        patient_index=np.arange(len(kept)),
    )
    assert (describe_patients(settings, merged) == describe_patients(settings, alone)).all()


def test_everybody_described_is_charged_once_and_a_repeat_is_the_same(sites: TableSites) -> None:
    first = answer(sites)
    assert (answer(sites).table == first.table).all()
    [row] = [row for row in sites.gate().ledger.show() if row.kind == "charge"]
    members = everybody(sites, "elm").patients
    assert row.members_sha256 == members_sha256(members)
    assert (row.purpose, row.charge_class, row.round) == ("evaluate.description", "dp", 0)
    assert row.noise_multiplier == sites.plan.predicted.description_noise_multiplier
    trained = set(sites.split("train").arrays.patients)
    held_out = set(sites.split("internal").arrays.patients)
    assert trained
    assert held_out
    assert trained | held_out <= set(members)
    sent = sites.gate().outbox.show()[0]
    assert (sent.channel, sent.release_class) == ("evaluate.description", "dp")
    assert sent.epsilon == pytest.approx(1.0, abs=0.01)


def test_a_patient_of_the_held_out_split_pays_for_both_tables(sites: TableSites) -> None:
    answer(sites)
    answer_evaluate(sites.site(), sites.gate(), sites.evaluate_request("internal"))
    plan = sites.plan
    events = [
        GaussianEvent(noise_multiplier=noise)
        for noise in (
            plan.predicted.description_noise_multiplier,
            plan.predicted.validation_noise_multiplier,
        )
    ]
    expected = epsilon_of(events, 1e-5)
    members = sites.split("internal").arrays.patients
    assert sites.gate().ledger.run_epsilon(plan.sha256, members, delta=1e-5) == pytest.approx(expected)
    trained = epsilon_of(
        [events[0], GaussianEvent(noise_multiplier=plan.settings.privacy.noise_multiplier, steps=3)],
        1e-5,
    )
    dearest = run_epsilon(plan.settings, plan.predicted, trains=True)
    assert dearest == pytest.approx(max(expected, trained))
    assert max(plan.predicted.training_epsilon, plan.predicted.validation_epsilon) < dearest
    outside = run_epsilon(plan.settings, plan.predicted, trains=False)
    assert outside == pytest.approx(expected)


def test_the_plan_states_the_price_and_a_plan_without_description_has_none(
    founded: TableSites, made: TableSites
) -> None:
    predicted = founded.plan.predicted
    assert predicted == predict_cost(founded.plan.settings)
    assert 0.99 < predicted.description_epsilon <= 1.0
    assert made.plan.predicted.description_epsilon is None
    assert made.plan.predicted.description_noise_multiplier is None


def problems(sites: TableSites, name: str, **policy: object) -> tuple[str, ...]:
    plan, path = sites.plan, sites.site(name).folder / "policy.yaml"
    settings = read_policy(path).model_copy(update=policy)
    return check_plan(settings, plan, site=name)


def test_the_cap_per_run_holds_for_training_and_description_together(founded: TableSites) -> None:
    assert problems(founded, "elm") == problems(founded, "hop") == ()
    dearest = run_epsilon(founded.plan.settings, founded.plan.predicted, trains=True)
    cap = 2.1
    assert max(founded.plan.predicted.training_epsilon, 2.0) < cap < dearest
    found = problems(founded, "elm", epsilon_per_run=cap)
    assert [text.split(" costs ")[0] for text in found] == [
        "a validation with the description",
        "training with the description",
    ]
    outside = problems(founded, "hop", epsilon_per_run=cap)
    assert [text.split(" costs ")[0] for text in outside] == ["a validation with the description"]


def test_a_governed_description_is_exact_but_for_small_groups_and_names_who_approved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = found_table_sites(tmp_path, *PRICES, "validation.release_class=governed")
    sites.change_policy(allows_governed=True, governed_approved_by="Ada Byron")
    asked = request(sites)
    sites.change_policy(allows_governed=False)
    assert sites.refused(answer_evaluate, asked) == "policy.plan-forbidden"
    sites.change_policy(allows_governed=True)
    plan = sites.plan
    assert plan.predicted.description_epsilon is None
    arrays, spec = everybody(sites, "elm"), description_spec(plan.settings)
    arrays.field_mask[:4, 1] = False
    monkeypatch.setattr("client.answers.describe.assemble", lambda *_, **__: arrays)
    with known_noise(1.0) as drawn:
        reply = answer(sites)
    assert drawn == []
    exact = describe_patients(plan.settings, arrays)
    assert (reply.table == withhold_small_groups(exact, spec, minimum_cell=10)).all()
    withheld = slice(spec.first_cells[1], spec.first_cells[2])
    assert (reply.table != exact).sum() == len(exact[withheld]) == 3
    assert (reply.table[withheld] != exact[withheld]).all()
    [row] = [row for row in sites.gate().ledger.show() if row.kind == "charge"]
    assert (row.charge_class, row.approved_by, row.event) == ("governed", "Ada Byron", None)


def test_a_table_of_another_length_or_class_never_leaves(sites: TableSites) -> None:
    gate, plan, asked = sites.gate(), sites.plan, request(sites)
    gate.charge_validation(plan, asked, members=everybody(sites, "elm").patients)
    n_cells = description_spec(plan.settings).n_cells
    for table in (np.zeros(n_cells - 1), np.full(n_cells, np.nan)):
        reply = EvaluateReply(
            plan_sha256=plan.sha256,
            kind="description",
            release_sha256="",
            site="",
            status="measured",
            release_class="dp",
            table=table,
            ledger_head="",
        )
        with pytest.raises(Exception, match="finite cells"):
            gate.release_table(reply, plan=plan, request=asked)


def test_a_site_without_labelled_patients_says_so_for_nothing(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = everybody(sites, "elm")
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
    monkeypatch.setattr("client.answers.describe.assemble", lambda *_, **__: nobody)
    reply = answer(sites)
    assert (reply.status, reply.table.size) == ("not-applicable", 0)
    assert sites.charges() == 0


def test_the_gate_alone_charges_no_description_that_the_plan_does_not_release(
    made: TableSites,
) -> None:
    # else it would pass for a governed one: exact, and free
    members = everybody(made, "elm").patients
    with pytest.raises(PlanError) as caught:
        made.gate().charge_validation(made.plan, request(made), members=members)
    assert caught.value.code == "plan.no-description"
