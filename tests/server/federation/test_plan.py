"""The plan: what it fixes, what it predicts, and that nothing of it can be changed unseen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.federation.compose import compose_settings
from server.federation.folder import Enrolled, create_home
from server.federation.plan import draft_plan, gradient_stage, save_plan, schedule_for
from shared.contract.plan import Plan, read_plan
from shared.contract.protocol import vector_sha256
from shared.contract.stages import GradientStage
from shared.errors import PlanError, SettingsError
from shared.learners.table import LEARNERS
from shared.signing.keys import create_key
from shared.stages.kinds import sum_of

NOW = datetime(2026, 1, 5, tzinfo=UTC)
SIZES = {"aster": 100, "birch": 300}


def draft(
    overrides: list[str] | None = None,
    *,
    key: str = "0" * 64,
    run: str = "spring",
    sizes: dict[str, int] = SIZES,
    external: int = 0,
) -> Plan:
    sites = [
        Enrolled(
            site=name,
            public_key="1" * 64,
            declared_patients=size,
            role="training",
            enrolled_utc="2026-01-01",
        )
        for name, size in sizes.items()
    ]
    if external:
        outside = {"site": "dune", "role": "external", "declared_patients": external}
        sites.append(sites[0].model_copy(update=outside))
    return draft_plan(compose_settings(overrides or []), sites, run=run, coordinator_key=key, now=NOW)


def test_a_plan_fixes_every_value_that_yaml_leaves_open() -> None:
    plan = draft()
    content = plan.model_dump(mode="json")
    del content["settings"]["cohort"]["fields"]  # the range of a category is none, not an open value
    assert list(nulls(content)) == ["plan.release"], "a plan that trains measures no earlier release"
    settings, stage = compose_settings(), training(plan)
    asked = settings.federation
    assert (asked.rounds, asked.local_steps, asked.learning_rate) == (None, None, None)
    row = schedule_for(settings, [*SIZES.values()])
    assert (stage.rounds, stage.local_steps, stage.learning_rate, stage.fold, stage.local_tail) == (
        *(row.rounds, row.local_steps, row.learning_rate, row.fold, row.local_tail),
    )
    assert stage.noise_multiplier > 0
    assert stage.update_norm_max > 0


def test_a_robust_rule_that_would_withstand_nobody_is_not_planned() -> None:
    with pytest.raises(SettingsError) as caught:
        draft(["strategy=geometric_median"])
    assert caught.value.code == "settings.withstands-nobody"
    five = {name: 100 for name in ("aster", "birch", "cedar", "dune", "elm")}
    for fold in ("site", "coordinator"):
        asked = ["strategy=geometric_median", "fusion=clinical_only", f"federation.fold={fold}"]
        assert training(draft([*asked, "federation.local_steps=1"], sizes=five)).fold == fold


def nulls(content: object, name: str = "plan") -> Iterator[str]:
    """Where nothing stands."""
    if content is None:
        yield name
    parts = content.items() if isinstance(content, dict) else ()
    parts = enumerate(content) if isinstance(content, list) else parts
    for key, part in parts:
        yield from nulls(part, f"{name}.{key}")


def training(plan: Plan) -> GradientStage:
    assert plan.training is not None
    return plan.training


# What a plan is asked for, so that the task suits the learner.
OF_CLASSES = ("experiment=bmd_classes",)
OF_A_NUMBER = ("learner.read_as=ridge",)
OF_A_TIME = ("experiment=hip_fracture", "privacy.clip_norm=0.5")
OWN_TASK = {"second_moments": OF_A_NUMBER, "proportional_hazards": OF_A_TIME}


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_learner_starts_where_a_site_finds_that_it_starts(kind: str) -> None:
    chosen = OWN_TASK.get(kind, OF_CLASSES)
    plan = draft([*chosen, f"learner={kind}", "privacy.epsilon=1"])
    found = sum_of(plan, plan.trained, encoder_file=None).start()
    assert vector_sha256(found.vector) == plan.initial_weights_sha256


def test_a_layout_is_that_of_what_is_trained_not_of_what_was_left_open() -> None:
    def layout(epsilon: int, *settings: str) -> str:
        chosen = [*OF_CLASSES, "learner=lda", f"privacy.epsilon={epsilon}", *settings]
        return draft(chosen).layout_sha256

    assert layout(1) == layout(1, "learner.reading=class_sums")
    assert layout(8) == layout(8, "learner.reading=matrix") != layout(1)


def test_weights_follow_the_declared_sizes() -> None:
    assert [entry.weight for entry in draft().roster] == [0.25, 0.75]


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 8.0])
def test_predicted_epsilon_is_at_most_what_was_asked_and_nearly_all_of_it(epsilon: float) -> None:
    predicted = draft([f"privacy.epsilon={epsilon}"]).predicted
    assert predicted.training_epsilon is not None
    assert 0.97 * epsilon <= predicted.training_epsilon <= epsilon


def test_the_schedule_row_goes_by_epsilon_and_by_declared_size() -> None:
    # signal: 3 · 400/√2 = 849 and 3 · 1600/√2 = 3394
    rows = compose_settings().schedules["standard"]
    assert [row.from_signal for row in rows] == [0, 400, 1000, 3000, None]
    three = compose_settings(["privacy.epsilon=3"])
    assert schedule_for(three, [100, 300]) == rows[1]
    assert schedule_for(three, [1300, 300]) == rows[3]
    assert schedule_for(compose_settings(["privacy.epsilon=1"]), [1300, 300]) == rows[2]
    assert schedule_for(compose_settings(["privacy=off"]), [1300, 300]) == rows[-1]


HEADS = ("cross_attention", "concatenation", "linear", "image_only", "clinical_only")


def stage_of(*overrides: str, training: list[int]) -> GradientStage:
    return gradient_stage(compose_settings(overrides), n_parameters=100, training=training)


@pytest.mark.parametrize("head", HEADS)
def test_few_patients_alone_are_asked_for_a_smaller_rate_than_a_federation(head: str) -> None:
    asked = (f"fusion={head}", "privacy.epsilon=1")
    alone, together = (stage_of(*asked, training=sizes) for sizes in ([112], [112, 225, 450]))
    assert alone.learning_rate < together.learning_rate


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (["engine=deployed"], 60.0),
        (["engine=deployed", "federation.round_deadline_s=40"], 10.0),
        (["engine=deployed", "federation.reply_quantum_s=0"], 0.0),
        (["engine=deployed", "is_synthetic=true"], 0.0),
        (["engine=deployed", "is_simulated=true"], 0.0),
        (["engine=local"], 0.0),
        (["engine=local", "federation.reply_quantum_s=7"], 7.0),
    ],
)
def test_answers_of_hospitals_leave_at_a_public_time_unless_a_plan_says_otherwise(
    asked: list[str], seconds: float
) -> None:
    assert draft(asked).settings.patience.reply_quantum_s == seconds


def test_an_external_site_does_not_change_the_schedule() -> None:
    assert training(draft(external=5000)) == training(draft())


def test_given_rounds_win_over_the_schedule_and_cost_less_noise_when_fewer() -> None:
    few, many = (training(draft([f"federation.rounds={rounds}"])) for rounds in (2, 20))
    assert few.total_steps * 10 == many.total_steps
    assert 0 < few.noise_multiplier < many.noise_multiplier


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("schedule", "messages"), [("few_messages", 2), ("one_message", 1)])
def test_a_schedule_of_few_messages_averages_its_tail_at_the_site(
    head: str, schedule: str, messages: int
) -> None:
    for privacy in ("privacy.epsilon=1", "privacy.epsilon=8", "privacy=off"):
        stage = stage_of(f"fusion={head}", f"schedule={schedule}", privacy, training=[112, 225, 450])
        assert (stage.rounds, stage.fold, stage.local_tail) == (messages, "site", 0.5)
        assert stage.total_steps >= 10


def test_few_messages_cost_a_patient_what_many_do() -> None:
    for schedule in ("standard", "few_messages", "one_message"):
        predicted = draft([f"schedule={schedule}", "privacy.epsilon=1"]).predicted
        assert predicted.training_epsilon is not None
        assert 0.97 <= predicted.training_epsilon <= 1.0


def bound_of(**options: object) -> float:
    return training(draft(**options)).update_norm_max


def test_the_bound_on_an_update_leaves_room_for_the_noise_of_the_smallest_site_that_trains() -> None:
    bound = bound_of()
    assert bound_of(sizes=SIZES | {"birch": 350}) == bound
    assert bound_of(sizes=SIZES | {"aster": 50}) > bound
    assert bound_of(external=10) == bound, "an external site sends no update"
    assert bound_of(overrides=["privacy.update_norm_max=7.5"]) == 7.5


def test_an_external_site_has_no_weight_and_takes_none() -> None:
    assert [entry.weight for entry in draft(external=1000).roster] == [0.25, 0.75, 0.0]


def test_a_plan_without_privacy_says_so_in_words() -> None:
    predicted = draft(["privacy=off"]).predicted
    assert predicted.training_epsilon is None
    assert "no formal privacy guarantee" in predicted.mechanism


@pytest.mark.parametrize("run", ["p1", "../p1", "Spring", "a b c", "x" * 62])
def test_a_name_that_is_no_folder_name_is_refused(run: str) -> None:
    with pytest.raises(PlanError, match="lower-case letters"):
        draft(run=run)


def test_a_plan_needs_a_training_site() -> None:
    with pytest.raises(PlanError, match="no training site"):
        draft_plan(compose_settings(), [], run="spring", coordinator_key="0" * 64, now=NOW)


def test_no_plan_is_written_of_what_the_task_cannot_have() -> None:
    with pytest.raises(SettingsError) as caught:
        draft(["experiment=bmd_classes", "measure=errors"])
    assert caught.value.code == "settings.needs-a-number"


def test_a_saved_plan_is_read_back_equal_and_never_overwritten(tmp_path: Path) -> None:
    home = create_home(tmp_path)
    plan = draft(key=home.key().public_hex)
    save_plan(home, plan)
    path = home.run_folder("spring") / "plan.json"
    assert read_plan(path, coordinator_key=home.key().public_hex) == plan
    with pytest.raises(PlanError, match="exists already"):
        save_plan(home, plan)


@pytest.mark.parametrize(
    "change",
    [
        {"written_utc": "2027-01-01"},
        {"roster": []},
        {"coordinator_key": "2" * 64},
        {"version": 1},
        {"version": 2},
    ],
)
def test_a_plan_that_was_changed_after_signing_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    home = create_home(tmp_path)
    save_plan(home, draft(key=home.key().public_hex))
    path = home.run_folder("spring") / "plan.json"
    content = json.loads(path.read_text())
    content["plan"] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(PlanError):
        read_plan(path, coordinator_key=home.key().public_hex)


def test_a_plan_signed_by_somebody_else_is_refused(tmp_path: Path) -> None:
    home, other = create_home(tmp_path / "a"), create_key(tmp_path / "other.pem")
    save_plan(home, draft(key=home.key().public_hex))
    with pytest.raises(PlanError) as caught:
        read_plan(home.run_folder("spring") / "plan.json", coordinator_key=other.public_hex)
    assert caught.value.code == "plan.changed"
