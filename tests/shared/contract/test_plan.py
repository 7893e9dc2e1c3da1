"""The plan: one identity for one content, believed only from its coordinator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from practice_site import SITE, coordinator_key, make_plan, site_key
from pydantic import ValidationError

from server.federation.compose import compose_settings
from shared.contract.plan import Plan, PredictedCost, SplitCost, read_plan, write_plan
from shared.contract.settings import Patience
from shared.errors import PlanError
from shared.signing.canonical import canonical_json, sha256_hex


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan(tmp_path)


@pytest.fixture
def written(plan: Plan, tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    write_plan(path, plan, coordinator_key(tmp_path))
    return path


def code_of(path: Path, key: str | None = None) -> str:
    with pytest.raises(PlanError) as caught:
        read_plan(path, coordinator_key=key)
    return caught.value.code


def test_a_plan_is_named_by_the_hash_of_its_canonical_json(plan: Plan) -> None:
    assert plan.sha256 == sha256_hex(canonical_json(json.loads(plan.model_dump_json())))


def test_the_own_encoder_and_those_of_features_have_their_places_by_hash(plan: Plan) -> None:
    asked = ["features=three_encoders", "task=bmd_classes", "learner=lda", "fusion=linear"]
    settings = compose_settings([*asked, "encoder=standin_resnet"])
    own, *others = (each.sha256 for each in settings.encoders)
    changed = plan.model_copy(update={"settings": settings, "encoder_sha256": own})
    assert changed.encoder_places == {
        own: "encoder.safetensors",
        **{sha256: f"encoders/{sha256}.safetensors" for sha256 in others},
    }
    assert len(others) == 2


def test_a_signed_plan_is_read_back(plan: Plan, written: Path) -> None:
    for key in (plan.coordinator_key, None):
        found = read_plan(written, coordinator_key=key)
        assert found == plan
        assert found.sha256 == plan.sha256


def test_a_plan_of_another_coordinator_is_refused(plan: Plan, written: Path, tmp_path: Path) -> None:
    assert code_of(written, site_key(tmp_path).public_hex) == "plan.changed"


def test_a_plan_signed_by_another_key_than_it_names_is_refused(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(path, plan, site_key(tmp_path))
    assert code_of(path) == "plan.bad-signature"


def noise(envelope: dict) -> None:
    envelope["plan"]["stages"][0]["noise_multipliers"] = [0.5]


def noise_and_hash(envelope: dict) -> None:
    noise(envelope)
    envelope["sha256"] = sha256_hex(
        canonical_json(Plan.model_validate(envelope["plan"]).model_dump(mode="json"))
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (noise, "plan.changed"),
        (noise_and_hash, "plan.bad-signature"),
        (lambda envelope: envelope.update(sha256="0" * 64), "plan.changed"),
        (lambda envelope: envelope.pop("signature"), "plan.bad-signature"),
        (lambda envelope: envelope["plan"].update(version=1), "plan.unknown-version"),
        (lambda envelope: envelope["plan"].update(version=2), "plan.unknown-version"),
        (lambda envelope: envelope["plan"].update(version=3), "plan.unknown-version"),
        (lambda envelope: envelope["plan"]["stages"][0].pop("kind"), "plan.not-valid"),
        (lambda envelope: envelope["plan"]["settings"].update(privacy={}), "plan.not-valid"),
        (lambda envelope: envelope["plan"].update(more=1), "plan.not-valid"),
        (lambda envelope: envelope["plan"].pop("roster"), "plan.not-valid"),
        (lambda envelope: envelope.pop("plan"), "plan.unreadable"),
    ],
)
def test_a_plan_that_was_changed_is_refused(
    written: Path, change: Callable[[dict], object], code: str
) -> None:
    envelope = json.loads(written.read_bytes())
    change(envelope)
    written.write_text(json.dumps(envelope))
    assert code_of(written) == code


def test_a_plan_that_holds_no_answer_keeps_the_hash_of_before_there_was_a_quantum(plan: Plan) -> None:
    assert b"reply_quantum_s" not in plan.canonical()
    held = plan.settings.patience.model_copy(update={"reply_quantum_s": 60.0})
    settings = plan.settings.model_copy(update={"patience": held})
    later = Plan.model_validate(plan.model_dump() | {"settings": settings.model_dump()})
    assert later.settings.patience.reply_quantum_s == 60.0
    assert b'"reply_quantum_s":60' in later.canonical()


def test_a_quantum_leaves_a_late_answer_time_before_the_deadline(plan: Plan) -> None:
    deadline_s = plan.settings.patience.round_deadline_s
    asked = plan.settings.patience.model_dump()
    Patience.model_validate(asked | {"reply_quantum_s": deadline_s / 2})
    with pytest.raises(ValidationError, match="at most half of round_deadline_s"):
        Patience.model_validate(asked | {"reply_quantum_s": deadline_s / 2 + 1})


def test_a_plan_names_the_encoder_that_its_settings_name(plan: Plan) -> None:
    with pytest.raises(ValueError, match=r"encoder\.sha256"):
        Plan.model_validate(plan.model_dump() | {"encoder_sha256": "1" * 64})


def test_a_roster_is_asked_by_name_and_by_role(plan: Plan) -> None:
    one = plan.roster[0]
    other = one.model_copy(update={"site": "south", "role": "external", "weight": 0.0})
    both = Plan.model_validate(plan.model_dump() | {"roster": (one, other)})
    assert both.entry("south") == other
    assert both.sites("training") == (one,)
    assert both.sites("external") == (other,)
    assert one.site == SITE
    with pytest.raises(PlanError) as caught:
        both.entry("west")
    assert caught.value.code == "plan.not-on-roster"


def test_a_stage_is_found_by_its_name_and_asks_the_sites_of_its_roles(plan: Plan) -> None:
    assert [stage.name for stage in plan.stages] == ["train", "internal", "external", "prospective"]
    assert plan.training is plan.trained is plan.stage("train")
    assert plan.tables == plan.stages[1:]
    assert plan.measures == ()
    one = plan.roster[0]
    other = one.model_copy(update={"site": "south", "role": "external", "weight": 0.0})
    both = Plan.model_validate(plan.model_dump() | {"roster": (one, other)})
    asked = {stage.name: [entry.site for entry in both.asked(stage)] for stage in both.stages}
    assert asked == {
        "train": [SITE], "internal": [SITE], "external": ["south"], "prospective": [SITE, "south"],
    }  # fmt: skip
    with pytest.raises(PlanError) as caught:
        plan.stage("description")
    assert caught.value.code == "plan.no-such-stage"
    measuring = Plan.model_validate(plan.model_dump() | {"stages": plan.model_dump()["stages"][1:]})
    assert measuring.training is measuring.trained is None


def test_a_plan_that_measures_a_release_trains_nothing_and_reads_its_training(plan: Plan) -> None:
    content = plan.model_dump()
    measured = {
        "run": "spring",
        "plan_sha256": "1" * 64,
        "release_sha256": "2" * 64,
        "weights_sha256": "3" * 64,
        "trained": content["stages"][0],
    }
    validating = content | {
        "stages": content["stages"][2:],
        "release": measured,
        "initial_weights_sha256": "",
    }
    found = Plan.model_validate(validating)
    assert found.trained is None
    assert found.read_by(found.tables[0]) == plan.training == plan.read_by(plan.tables[0])
    faults = (
        {"stages": content["stages"]},
        {"initial_weights_sha256": "4" * 64},
        {"release": None},
    )
    for fault in faults:
        with pytest.raises(ValidationError):
            Plan.model_validate(validating | fault)
    with pytest.raises(PlanError) as caught:
        found.read_by(found.tables[0].model_copy(update={"reads": "elsewhere"}))
    assert caught.value.code == "plan.no-such-stage"


def test_a_plan_that_goes_on_from_a_release_is_of_one_site_that_signs_it_itself(plan: Plan) -> None:
    content = plan.model_dump()
    [entry] = content["roster"]
    measured = {
        "run": "spring",
        "plan_sha256": "1" * 64,
        "release_sha256": "2" * 64,
        "weights_sha256": "3" * 64,
        "trained": content["stages"][0],
    }
    own = content | {
        "release": measured,
        "initial_weights_sha256": "3" * 64,
        "coordinator_key": entry["public_key"],
    }
    assert Plan.model_validate(own).is_local
    assert not plan.is_local
    other = entry | {"site": "south", "public_key": "5" * 64}
    for fault in (
        {"coordinator_key": "4" * 64},
        {"roster": [entry, other]},
        {"initial_weights_sha256": "4" * 64},
        {"initial_weights_sha256": ""},
    ):
        with pytest.raises(ValidationError):
            Plan.model_validate(own | fault)


def test_the_dearest_patient_of_a_role_is_priced_and_one_without_a_price_makes_none() -> None:
    def cost(**epsilons: float | None) -> PredictedCost:
        splits = tuple(
            SplitCost(role="training", patients=patients, epsilon=epsilon)  # type: ignore[arg-type]
            for patients, epsilon in epsilons.items()
        )
        return PredictedCost(
            mechanism="", accountant="", delta=1e-5, splits=splits,
            training_epsilon=None, validation_epsilon=None, description_epsilon=None,
        )  # fmt: skip

    assert cost(train=1.0, internal=2.5, accrued=2.0).dearest("training") == 2.5
    assert cost(train=1.0, internal=None).dearest("training") is None
    assert cost(train=1.0).dearest("external") == 0.0


@pytest.mark.parametrize(
    "values",
    [
        {"site": "North"},
        {"declared_patients": 0},
        {"weight": 1.1},
        {"weight": -0.1},
        {"public_key": "a" * 63},
        {"role": "auditor"},
    ],
)
def test_a_roster_entry_out_of_range_is_refused(plan: Plan, values: dict[str, object]) -> None:
    entry = plan.roster[0].model_dump() | values
    with pytest.raises(ValueError, match=next(iter(values))):
        Plan.model_validate(plan.model_dump() | {"roster": [entry]})


def test_a_roster_that_names_a_site_twice_is_refused(plan: Plan) -> None:
    twice = [entry.model_dump() for entry in (*plan.roster, plan.roster[0])]
    with pytest.raises(ValueError, match="sites of the roster must differ in name"):
        Plan.model_validate(plan.model_dump() | {"roster": twice})


@pytest.mark.parametrize("run", ["ab", "-abc", "Run", "a" * 62, "a/b", ""])
def test_a_run_is_named_by_what_can_be_a_folder(plan: Plan, run: str) -> None:
    with pytest.raises(ValueError, match="run"):
        Plan.model_validate(plan.model_dump() | {"run": run})
