"""A sweep: all its plans in one order under one signature, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from practice_site import coordinator_key, make_plan, site_key

from shared.contract.plan import write_plan
from shared.contract.sweep import (
    SignedSweep,
    Sweep,
    SweepArm,
    is_sweep,
    read_sweep,
    require_one_question,
    write_sweep,
)
from shared.errors import PlanError
from shared.privacy.cost import predict_cost


@pytest.fixture
def signed(tmp_path: Path) -> SignedSweep:
    first = make_plan(tmp_path)
    plans = tuple(first.model_copy(update={"run": f"sweep-{name}"}) for name in "abc")
    stages = [stage for plan in plans for stage in plan.stages]
    sweep = Sweep(
        name="sweep",
        written_utc=first.written_utc,
        arms=tuple(
            SweepArm(name=plan.run[-1], run=plan.run, plan_sha256=plan.sha256) for plan in plans
        ),
        predicted=predict_cost(stages, delta=first.settings.delta),
        coordinator_key=first.coordinator_key,
    )
    return SignedSweep(sweep, plans)


@pytest.fixture
def written(signed: SignedSweep, tmp_path: Path) -> Path:
    path = tmp_path / "sweep.json"
    write_sweep(path, signed, coordinator_key(tmp_path))
    return path


def drop_arm(envelope: dict[str, Any]) -> None:
    del envelope["sweep"]["arms"][1], envelope["plans"][1]


def reorder_arms(envelope: dict[str, Any]) -> None:
    envelope["sweep"]["arms"].reverse()
    envelope["plans"].reverse()


def lower_the_price(envelope: dict[str, Any]) -> None:
    envelope["sweep"]["predicted"]["training_epsilon"] = 0.1


def drop_plan(envelope: dict[str, Any]) -> None:
    del envelope["plans"][1]


def reorder_plans(envelope: dict[str, Any]) -> None:
    envelope["plans"].reverse()


def change_a_plan(envelope: dict[str, Any]) -> None:
    envelope["plans"][2]["plan"]["written_utc"] = "2031-01-01T00:00:00+00:00"


def forget_the_plans(envelope: dict[str, Any]) -> None:
    del envelope["plans"]


def name_a_later_version(envelope: dict[str, Any]) -> None:
    envelope["sweep"]["version"] = 2


def leave_one_arm(envelope: dict[str, Any]) -> None:
    del envelope["sweep"]["arms"][1:]


def code_of(path: Path, key: str | None = None) -> str:
    with pytest.raises(PlanError) as caught:
        read_sweep(path, coordinator_key=key)
    return caught.value.code


def test_a_signed_sweep_is_read_back_with_its_plans_in_order(
    signed: SignedSweep, written: Path
) -> None:
    for key in (signed.sweep.coordinator_key, None):
        found = read_sweep(written, coordinator_key=key)
        assert found == signed
        assert [arm.name for arm, _ in found.arms] == ["a", "b", "c"]
    assert is_sweep(written)


def test_a_plan_is_no_sweep(signed: SignedSweep, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(path, signed.plans[0], coordinator_key(tmp_path))
    assert not is_sweep(path)
    assert code_of(path) == "plan.unreadable"
    assert not is_sweep(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (drop_arm, "plan.bad-signature"),
        (reorder_arms, "plan.bad-signature"),
        (lower_the_price, "plan.bad-signature"),
        (drop_plan, "plan.changed"),
        (reorder_plans, "plan.changed"),
        (change_a_plan, "plan.changed"),
        (forget_the_plans, "plan.unreadable"),
        (name_a_later_version, "plan.unknown-version"),
        (leave_one_arm, "plan.not-valid"),
    ],
)
def test_a_sweep_that_was_touched_is_refused(
    change: Callable[[dict[str, Any]], None], code: str, written: Path
) -> None:
    envelope = json.loads(written.read_bytes())
    change(envelope)
    written.write_text(json.dumps(envelope))
    assert code_of(written) == code


def test_a_sweep_of_another_coordinator_is_refused(written: Path, tmp_path: Path) -> None:
    assert code_of(written, site_key(tmp_path).public_hex) == "plan.bad-signature"


def test_arms_must_ask_the_same_sites_about_the_same_patients(signed: SignedSweep) -> None:
    first, second, _ = signed.plans
    require_one_question([first, second])
    entry = first.roster[0].model_copy(update={"declared_patients": 7})
    elsewhere = second.model_copy(update={"roster": (entry, *second.roster[1:])})
    looser = second.model_copy(update={"settings": second.settings.model_copy(update={"delta": 1e-4})})
    for plans, word in (
        ([first, elsewhere], "roster"),
        ([first, looser], "settings.delta"),
        ([first, first], "run: two arms have one name"),
    ):
        with pytest.raises(PlanError, match=word) as caught:
            require_one_question(plans)
        assert caught.value.code == "plan.arms-differ"
