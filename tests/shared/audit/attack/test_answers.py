"""The installed code answers as the plan says, and what does not is refuted: each stage, by force."""

from __future__ import annotations

import numpy as np
import pytest
from handed_over import HandedOver
from planted import COMPANY, CUT, FRESH, OWN_ROW, planted
from practice_plan import plan_of
from table_site import TableSites, found_table_sites

from server.federation.compose import compose_settings
from shared.audit.attack.answers import CODE, MOVES, NOISE, _size_z, answer_findings
from shared.audit.attack.company import company_findings
from shared.audit.finding import Finding
from shared.contract.plan import Plan


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> TableSites:
    """A plan whose sites take several sampled steps beside canaries, and send a change."""
    return found_table_sites(
        tmp_path_factory.mktemp("folded"),
        "privacy.canaries=100",
        "privacy.sample_rate=0.5",
        "federation.local_steps=4",
        "federation.learning_rate=0.05",
    )


def refuted(plan: Plan) -> set[str]:
    found = [*answer_findings(plan), *company_findings(plan)]
    return {each.claim for each in found if each.verdict == "fail"}


def by_claim(plan: Plan) -> dict[str, Finding]:
    return {each.claim: each for each in answer_findings(plan)}


def test_correct_code_passes_and_says_how_much_it_tried(folded: TableSites) -> None:
    found = by_claim(folded.plan)
    assert {each.verdict for each in found.values()} == {"pass"}
    assert {each.site for each in found.values()} == {CODE}
    assert len(found) == 3, "noise, movements, and the cut of a change"
    stages = [stage for stage in folded.plan.stages if stage.release_class == "dp"]
    assert found[NOISE].figures["stages"] == len(stages)
    assert abs(float(found[NOISE].figures["furthest_z"] or 0)) < 6
    moved = found[MOVES].figures
    assert float(moved["moved_bounds"] or 0) == pytest.approx(1.0, abs=1e-3), "somebody was clipped"
    # training from its start and from hostile weights, in the first round and the last; tables once
    assert moved["patients"] == 12 * (3 + len(stages) - 1)


def test_a_plan_that_adds_at_the_coordinator_has_no_change_to_cut(made_run: HandedOver) -> None:
    found = by_claim(made_run.plan)
    assert {each.verdict for each in found.values()} == {"pass"}
    assert found.keys() == {NOISE, MOVES}


def test_a_plan_without_noise_has_nothing_to_hold_code_to(folded: TableSites) -> None:
    stages = tuple(each.model_copy(update={"release_class": "governed"}) for each in folded.plan.tables)
    assert answer_findings(folded.plan.model_copy(update={"stages": stages})) == []


@pytest.mark.parametrize(
    ("bug", "claims"),
    [
        ("a tenth of the noise on the model's tensors", {FRESH}),
        ("one draw of noise for all steps of a round", {FRESH}),
        ("no noise in one column of a table", {FRESH}),
        ("patients unclipped, canaries clipped", {OWN_ROW, COMPANY}),
        ("patients with two exams counted twice", {OWN_ROW}),
        ("gradients centred on the batch", {OWN_ROW, COMPANY}),
        ("rows of a table weighted by the batch", {OWN_ROW}),
        ("divisor from the data", {FRESH, OWN_ROW}),
        ("update not bounded", {CUT}),
    ],
)
def test_a_fault_of_the_code_is_refuted_by_its_claim_and_by_no_other(
    bug: str, claims: set[str], folded: TableSites
) -> None:
    with planted(bug):
        found = refuted(folded.plan)
    assert {claim for claim in claims if any(each.startswith(claim) for each in found)} == claims
    assert all(any(each.startswith(claim) for claim in claims) for each in found)


OF_CLASSES = ("experiment=bmd_classes", "encoder=none", "fusion=clinical_only")


@pytest.mark.parametrize(
    "words",
    [
        (*OF_CLASSES, "learner=logistic"),
        (*OF_CLASSES, "learner=forest"),
        ("experiment=hip_table", "learner=second_moments"),
    ],
    ids=lambda words: words[-1],
)
def test_learners_of_tables_are_tried_too_in_hostile_states(words: tuple[str, ...]) -> None:
    settings = compose_settings(words)
    plan = plan_of(settings, {"aster": 400, "birch": 300})
    stage = plan.trained
    assert stage is not None
    alone = plan.model_copy(update={"stages": (stage,)})
    found = by_claim(alone)
    assert {each.verdict for each in found.values()} == {"pass"}, found
    n_states = 1 + len({1, stage.rounds})
    assert found[MOVES].figures["patients"] == 12 * n_states
    with planted("rows of a table weighted by the batch"):
        assert by_claim(alone)[MOVES].verdict == "fail"


def test_the_size_of_noise_is_judged_on_both_sides() -> None:
    draw = np.random.default_rng(3)
    sizes = [_size_z(float((draw.normal(size=64) ** 2).sum()), 64) for _ in range(4000)]
    assert np.mean(sizes) == pytest.approx(0.0, abs=0.1)
    assert np.std(sizes) == pytest.approx(1.0, abs=0.1)
    assert _size_z(0.0, 64) < -6 < 6 < _size_z(4 * 64.0, 64)
