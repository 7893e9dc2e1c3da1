"""The hospital's policy: cautious by default, complete, and every violation of a plan at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from practice_site import SITE, clock, make_plan, make_policy
from table_site import TableSites

from client.site.policy import check_plan, read_policy, require_plan, write_policy_template
from server.federation.compose import compose_settings
from server.federation.folder import Enrolled
from server.federation.plan import draft_plan
from shared.contract.stages import MeasureStage
from shared.errors import PlanError, PolicyError
from shared.privacy.cost import predict_cost


def violations(folder: Path, policy: dict[str, object], **plan: object) -> tuple[str, ...]:
    return check_plan(make_policy(folder, **policy), make_plan(folder, **plan), site=SITE, now=clock())


def test_the_template_is_valid_and_cautious_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    write_policy_template(path)
    policy = read_policy(path)
    assert (policy.allows_privacy_off, policy.allows_governed) == (False, False)
    assert (policy.epsilon_per_run, policy.epsilon_lifetime, policy.minimum_cell) == (3.0, 10.0, 10)
    with pytest.raises(PolicyError, match="not overwritten"):
        write_policy_template(path)


def test_a_plan_within_the_policy_passes(tmp_path: Path) -> None:
    assert violations(tmp_path, {}) == ()
    require_plan(make_policy(tmp_path), make_plan(tmp_path), site=SITE, now=clock())


def test_all_violations_come_together(tmp_path: Path) -> None:
    policy = make_policy(tmp_path, allowed=["evaluate.internal"], delta=1e-6)
    plan = make_plan(
        tmp_path,
        stated_epsilon=0.1,
        privacy__noise_multiplier=0.9,
        privacy__update_norm_max=1e9,
        validation__release_class="governed",
        validation__minimum_cell=3,
    )
    with pytest.raises(PolicyError) as caught:
        require_plan(policy, plan, site=SITE, now=clock())
    for part in (
        "train is not allowed here",
        "delta 1e-05 is above this hospital's 1e-06",
        "update_norm_max 1e+09 bounds nothing",
        "noise multiplier 0.9 is below the floor of 1",
        "above the cap of 3 per run",
        "the plan does not state its true cost",
        "governed releases (exact numbers) are not allowed here",
        "minimum cell 3 is below this hospital's 10",
    ):
        assert part in caught.value.fact
    assert caught.value.code == "policy.plan-forbidden"


@pytest.mark.parametrize(
    ("policy", "plan", "expected"),
    [
        ({}, {"privacy__mode": "off", "privacy__noise_multiplier": 0.0}, "privacy is off"),
        ({}, {"stage__noise_multipliers": (0.99,)}, "below the floor"),
        ({}, {"stage__noise_multipliers": (0.01,), "stated_epsilon": 3.0}, "at least 0.3"),
        ({"maximum_canaries": 9}, {"privacy__canaries": 10}, "10 canaries are more than the 9"),
        ({}, {"validation__prospective_patients": 9}, "prospective_patients 9 is below"),
        ({}, {"privacy__sample_rate": 0.9, "stated_epsilon": 0.1}, "does not state its true cost"),
        ({}, {"federation__rounds": 1000}, "above the cap of 3 per run"),
        ({"epsilon_per_run": 1.0}, {}, "training costs epsilon"),
        ({"epsilon_per_run": 1.0}, {}, "validation costs epsilon"),
        ({}, {"role": "external", "privacy__delta": 1e-3}, "delta 0.001"),
        ({"allowed": ["train"]}, {"role": "external"}, "evaluate.external is not allowed"),
        ({"allowed_tasks": ["falls"]}, {}, "task osteoporosis is none of ['falls']"),
        ({"allowed_tasks": ["falls"]}, {"role": "external"}, "task osteoporosis is none of ['falls']"),
        ({}, {"privacy__update_norm_max": 1e9}, "bounds nothing"),
        ({"reply_quantum_floor_s": 30.0}, {}, "multiples of 0 s, below this hospital's floor of 30"),
    ],
)
def test_a_single_violation_is_named(
    tmp_path: Path, policy: dict[str, object], plan: dict[str, object], expected: str
) -> None:
    assert any(expected in each for each in violations(tmp_path, policy, **plan))


def test_a_stage_that_measures_on_its_own_training_is_refused_whatever_it_is_called(
    tmp_path: Path,
) -> None:
    plan = make_plan(tmp_path)
    table = plan.tables[0].model_copy(update={"patients": "train"})
    changed = plan.model_copy(update={"stages": (plan.stages[0], table)})
    found = check_plan(make_policy(tmp_path), changed, site=SITE, now=clock())
    assert any("must not measure a release on the patients who trained it" in each for each in found)


def test_a_site_judges_the_stages_that_ask_it_and_not_those_of_other_sites(tmp_path: Path) -> None:
    plan, policy = make_plan(tmp_path), make_policy(tmp_path)
    exact = {"release_class": "governed", "noise_multipliers": (0.0,), "minimum_cell": 1}
    stages = tuple(
        stage.model_copy(update=exact) if stage.name == "external" else stage for stage in plan.stages
    )
    predicted = predict_cost(stages, delta=plan.settings.delta)
    changed = plan.model_copy(update={"stages": stages, "predicted": predicted})
    assert check_plan(policy, changed, site=SITE, now=clock()) == ()
    entry = plan.roster[0].model_copy(update={"role": "external"})
    outside = changed.model_copy(update={"roster": (entry,)})
    found = check_plan(policy, outside, site=SITE, now=clock())
    assert "governed releases (exact numbers) are not allowed here" in found


def test_the_cap_per_run_holds_for_training_and_description_together(
    made_described: TableSites,
) -> None:
    plan = made_described.plan

    def problems(name: str, **policy: object) -> list[str]:
        own = read_policy(made_described.site(name).folder / "policy.yaml")
        found = check_plan(own.model_copy(update=policy), plan, site=name, now=clock())
        return [text.partition(" costs ")[0] for text in found]

    assert problems("elm") == problems("hop") == []
    cap, dearest = 2.1, plan.predicted.dearest("training")
    assert dearest is not None
    assert plan.predicted.training_epsilon is not None
    assert max(plan.predicted.training_epsilon, 2.0) < cap < dearest
    both = ["validation with the description", "training with the description"]
    assert problems("elm", epsilon_per_run=cap) == both
    assert problems("hop", epsilon_per_run=cap) == both[:1]


def test_an_exact_stage_hides_no_noised_one_of_the_same_patients_from_the_cap(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    policy = make_policy(tmp_path, allows_governed=True, governed_approved_by="Ada Byron")
    table = next(stage for stage in plan.stages if stage.name == "internal")
    dear = table.model_copy(update={"name": "dear", "noise_multipliers": (0.35,)})
    exact = table.model_copy(update={"release_class": "governed", "noise_multipliers": (0.0,)})
    changed = plan.model_copy(update={"stages": (plan.stages[0], exact, dear)})
    assert predict_cost(changed.stages, delta=1e-5).validation_epsilon is None
    found = check_plan(policy, changed, site=SITE, now=clock())
    assert any("validation costs epsilon" in each and "above the cap of 3" in each for each in found)


def test_a_plan_asks_for_no_more_governed_releases_of_a_split_than_the_policy_allows(
    tmp_path: Path,
) -> None:
    plan = make_plan(tmp_path, validation__release_class="governed")
    table = next(stage for stage in plan.stages if stage.name == "internal")
    twice = plan.model_copy(update={"stages": (*plan.stages, table.model_copy(update={"name": "x"}))})
    policy = make_policy(tmp_path, **GOVERNED)
    assert check_plan(policy, plan, site=SITE, now=clock()) == ()
    assert "2 governed releases of internal patients are more than the 1" in str(
        check_plan(policy, twice, site=SITE, now=clock())
    )
    policy = policy.model_copy(update={"governed_releases_per_split": 2})
    assert "governed releases of" not in str(check_plan(policy, twice, site=SITE, now=clock()))


def test_exact_groups_beside_exact_statistics_of_a_split_are_forbidden_whatever_the_policy(
    tmp_path: Path,
) -> None:
    plan = make_plan(tmp_path, validation__release_class="governed")
    table = next(stage for stage in plan.stages if stage.name == "internal")
    shared = ("roles", "patients", "release_class", "noise_multipliers", "minimum_cell")
    content = {name: getattr(table, name) for name in (*shared, "minimum_patients")}
    errors = {"name": "errors", "measure": {"kind": "errors", "edges": (0.05,)}}
    exact = MeasureStage.model_validate(content | errors)
    policy = make_policy(tmp_path, **GOVERNED | {"governed_releases_per_split": 100})
    both = plan.model_copy(update={"stages": (*plan.stages, exact)})
    [problem] = check_plan(policy, both, site=SITE, now=clock())
    assert problem.startswith("internal and errors ask exact numbers of the same patients")
    assert check_plan(policy, plan, site=SITE, now=clock()) == ()


GOVERNED = {"allows_governed": True, "governed_approved_by": "Ada Byron"}


@pytest.mark.parametrize(
    ("just", "beyond", "plan", "expected"),
    [
        ({"delta": 1e-5}, {"delta": 9.9e-6}, {}, "delta 1e-05 is above"),
        ({"noise_multiplier_floor": 10}, {"noise_multiplier_floor": 10.01}, {}, "below the floor"),
        ({"maximum_canaries": 7}, {"maximum_canaries": 6}, {"privacy__canaries": 7}, "7 canaries"),
        ({"minimum_cell": 30}, {"minimum_cell": 31}, {}, "prospective_patients 30 is below"),
        (
            GOVERNED | {"minimum_cell": 12},
            GOVERNED | {"minimum_cell": 13},
            {"validation__release_class": "governed", "validation__minimum_cell": 12},
            "minimum cell 12 is below",
        ),
    ],
)
def test_each_limit_allows_what_lies_on_it_and_nothing_beyond(
    tmp_path: Path,
    just: dict[str, object],
    beyond: dict[str, object],
    plan: dict[str, object],
    expected: str,
) -> None:
    assert violations(tmp_path, just, **plan) == ()
    [problem] = violations(tmp_path, beyond, **plan)
    assert expected in problem


def test_what_the_hospital_allows_passes(tmp_path: Path) -> None:
    allowed = {
        "allows_privacy_off": True,
        "allows_governed": True,
        "governed_approved_by": "Ada Byron",
    }
    off = {"privacy__mode": "off", "privacy__noise_multiplier": 0.0}
    assert violations(tmp_path, allowed, **off, validation__release_class="governed") == ()


def test_an_allowed_task_passes_and_a_policy_without_the_list_allows_any(tmp_path: Path) -> None:
    assert violations(tmp_path, {"allowed_tasks": ["falls", "osteoporosis"]}) == ()
    path = tmp_path / "policy.yaml"
    content = yaml.safe_load(path.read_text())
    del content["allowed_tasks"]  # a policy of before the list
    path.write_text(yaml.safe_dump(content))
    assert check_plan(read_policy(path), make_plan(tmp_path), site=SITE, now=clock()) == ()


def test_the_bound_on_an_update_may_be_generous_but_not_absurd(tmp_path: Path) -> None:
    # 5 steps, learning rate 1, clip norm 0.5, noise 10, 100 patients: 2.5·(10 + 2·10·1e4/100)
    assert violations(tmp_path, {}, privacy__update_norm_max=5024.0) == ()
    [problem] = violations(tmp_path, {}, privacy__update_norm_max=5026.0)
    assert "5.02e+03" in problem
    shipped = compose_settings(["fusion=cross_attention", "privacy.epsilon=0.5"])
    sites = [
        Enrolled(site=name, public_key="1" * 64, declared_patients=n, role="training", enrolled_utc="")
        for name, n in ((SITE, 40), ("south", 4000))
    ]
    plan = draft_plan(shipped, sites, run="spring", coordinator_key="2" * 64, now=clock())
    assert not [
        each
        for each in check_plan(make_policy(tmp_path), plan, site=SITE, now=clock())
        if "bounds" in each
    ]


def test_a_learner_that_states_less_than_its_noise_gives_is_refused(tmp_path: Path) -> None:
    asked = compose_settings(["experiment=bmd_classes", "learner=naive_bayes", "privacy.epsilon=2"])
    enrolled = Enrolled(
        site=SITE, public_key="1" * 64, declared_patients=300, role="training", enrolled_utc=""
    )
    plan = draft_plan(asked, [enrolled], run="spring", coordinator_key="2" * 64, now=clock())
    policy = make_policy(tmp_path)
    assert check_plan(policy, plan, site=SITE, now=clock()) == ()
    lied = plan.stages[0].model_copy(update={"epsilon": 0.5})
    stages = (lied, *plan.stages[1:])
    [problem] = check_plan(policy, plan.model_copy(update={"stages": stages}), site=SITE, now=clock())
    assert problem.startswith("train states epsilon 0.5, its noise gives ")


def test_a_plan_in_which_the_site_has_no_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="not on the roster"):
        check_plan(make_policy(tmp_path), make_plan(tmp_path), site="south", now=clock())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"epsilon_lifetime": 0}, "epsilon_lifetime"),
        ({"surprise": 1}, "surprise"),
        ({"allowed": ["publish"]}, "allowed.0"),
        ({"noise_multiplier_floor": 0.1}, "noise_multiplier_floor"),
        ({"allows_governed": True, "governed_approved_by": "Ada"}, "first and last name"),
    ],
)
def test_an_invalid_policy_allows_nothing(
    tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    with pytest.raises(PolicyError, match=expected):
        make_policy(tmp_path, **change)


def test_a_missing_field_or_file_allows_nothing(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        read_policy(tmp_path / "policy.yaml")
    assert caught.value.code == "policy.invalid"
    write_policy_template(tmp_path / "policy.yaml")
    text = (tmp_path / "policy.yaml").read_text()
    (tmp_path / "policy.yaml").write_text(text.replace("minimum_cell: 10", ""))
    with pytest.raises(PolicyError, match="minimum_cell"):
        read_policy(tmp_path / "policy.yaml")


@pytest.mark.parametrize(
    ("days_ahead", "expected"),
    [(None, "has no last day"), (31, "is valid until 20"), (30, ""), (0, "")],
)
def test_a_hospital_can_ask_for_a_last_day_at_most_so_many_days_ahead(
    tmp_path: Path, days_ahead: int | None, expected: str
) -> None:
    today = clock().date()
    end = None if days_ahead is None else today + timedelta(days=days_ahead)
    plan = make_plan(tmp_path).model_copy(update={"valid_until": end})
    found = check_plan(make_policy(tmp_path, valid_until_within_days=30), plan, site=SITE, now=clock())
    latest = (today + timedelta(days=30)).isoformat()
    assert [expected in each and f"by {latest}, 30 days ahead" in each for each in found] == (
        [True] if expected else []
    )
    assert check_plan(make_policy(tmp_path / "other"), plan, site=SITE, now=clock()) == ()
