"""A charge is held to the stage that it names, whichever kind that is, in its own round."""

from __future__ import annotations

from dataclasses import replace

import pytest
from handed_over import HandedOver, Rows

from shared.audit.finding import Finding
from shared.audit.recount.charges import recount_charges, recount_splits
from shared.audit.recount.recounted import RecountedLedger
from shared.contract.plan import Plan


def with_stage(plan: Plan, name: str, **changes: object) -> Plan:
    """The plan with other settings of one stage, still under its own hash."""
    stages = tuple(
        stage.model_copy(update=changes) if stage.name == name else stage for stage in plan.stages
    )
    changed = plan.model_copy(update={"stages": stages})
    changed.__dict__["sha256"] = plan.sha256
    return changed


def edited(rows: Rows, stage: str, round_: int = 1, /, **changes: object) -> Rows:
    place = ("charge", stage, round_)
    return [
        replace(row, **changes) if (row.kind, row.stage, row.round) == place else row for row in rows
    ]


def judged(made: HandedOver, rows: Rows, *, plan: Plan | None = None, site: str = "elm") -> Finding:
    return recount_charges(RecountedLedger(plan or made.plan, site, tuple(rows)))


def test_an_honest_site_let_out_the_rounds_of_the_stages_that_ask_it(made_run: HandedOver) -> None:
    # training in 2 rounds, an internal and a prospective table; the last one was not asked for
    found = judged(made_run, made_run.rows())
    assert (found.verdict, found.figures) == (
        "pass",
        {
            "rounds_planned": 4,
            "rounds_released": 3,
            "charges": 3,
            "charges_without_release": 0,
            "attempts": 3,
        },
    )
    external = judged(made_run, made_run.rows("hop"), site="hop")
    assert (external.verdict, external.figures["rounds_planned"]) == ("pass", 2)


def test_each_round_is_held_to_its_own_noise(made_run: HandedOver) -> None:
    training = made_run.plan.training
    assert training is not None
    noise = training.noise_multiplier
    plan = with_stage(made_run.plan, "train", noise_multipliers=(noise, 2 * noise))
    found = judged(made_run, made_run.rows(), plan=plan)
    assert found.verdict == "fail"
    assert "(train, round 2): noise multiplier" in found.because
    assert "round 1" not in found.because
    rows = edited(made_run.rows(), "train", 2, noise_multiplier=2 * noise)
    assert judged(made_run, rows, plan=plan).verdict == "pass"


@pytest.mark.parametrize(
    ("stage", "changes", "because"),
    [
        ("internal", {"stage": "spring"}, "(spring, round 1): the plan has no such stage"),
        ("internal", {"stage": ""}, "(, round 1): the plan has no such stage"),
        ("internal", {"round": 2}, "(internal, round 2): the plan has rounds 1 to 1"),
        ("internal", {"round": 0}, "(internal, round 0): the plan has rounds 1 to 1"),
        (
            "internal",
            {"stage": "external", "purpose": "evaluate.external"},
            "(external, round 1): the stage asks sites of role external",
        ),
        ("internal", {"purpose": "train"}, "charged as train, the stage is evaluate.internal"),
        ("internal", {"sample_rate": 0.5}, "sample rate 0.5, steps 1; the plan has noise"),
        ("internal", {"steps": 2}, "steps 2; the plan has noise"),
        ("train", {"charge_class": "off"}, "class off, the plan has dp"),
        ("train", {"noise_multiplier": None}, "noise multiplier none"),
    ],
    ids=str,
)
def test_a_charge_that_is_not_what_its_stage_says_is_named(
    made_run: HandedOver, stage: str, changes: dict[str, object], because: str
) -> None:
    found = judged(made_run, edited(made_run.rows(), stage, **changes))
    assert found.verdict == "fail"
    assert because in found.because


@pytest.mark.parametrize("stage", ["train", "internal"])
def test_a_round_of_any_stage_is_charged_for_one_request_and_released_once(
    made_run: HandedOver, stage: str
) -> None:
    rows = made_run.rows()
    charge = next(row for row in rows if (row.kind, row.stage) == ("charge", stage))
    other = replace(charge, index=len(rows), request_sha256="6" * 64)
    found = judged(made_run, [*rows, other])
    assert found.because == f"{stage}, round 1 was charged for 2 different requests"
    again = replace(charge, index=len(rows))
    outcome = next(row for row in rows if row.charge_index == charge.index)
    second = replace(outcome, index=len(rows) + 1, charge_index=again.index)
    assert judged(made_run, [*rows, again, second]).because == f"{stage}, round 1 was released 2 times"


def test_no_stage_asks_a_site_that_is_not_on_the_roster(made_run: HandedOver) -> None:
    found = judged(made_run, made_run.rows(), site="oak")
    assert found.verdict == "fail"
    assert "the stage asks sites of role training" in found.because
    assert found.figures["rounds_planned"] == 0


def with_attempts(rows: Rows, n: int, *, after: str, kind: str = "attempt") -> Rows:
    """Rows about the first charge put after the first row of a kind."""
    charge = next(row for row in rows if row.kind == "charge")
    place = next(place for place, row in enumerate(rows) if row.kind == after) + 1
    added = [replace(charge, kind=kind, charge_index=charge.index)] * n  # type: ignore[arg-type]
    rows = [*rows[:place], *added, *rows[place:]]
    moved = {row.index: row.index + n * (row.index >= place) for row in rows if row.kind == "charge"}
    return [
        replace(
            row,
            index=index,
            charge_index=None if row.charge_index is None else moved[row.charge_index],
        )
        for index, row in enumerate(rows)
    ]


def test_five_repeats_of_a_charge_are_counted_and_a_sixth_is_named(made_run: HandedOver) -> None:
    five = judged(made_run, with_attempts(made_run.rows(), 5, after="charge"))
    assert (five.verdict, five.figures["attempts"]) == ("pass", 3 + 5)
    six = judged(made_run, with_attempts(made_run.rows(), 6, after="charge"))
    assert (six.verdict, "more than the 5 repeats" in six.because) == ("fail", True)


def test_an_attempt_after_the_answer_or_in_a_copy_is_named(made_run: HandedOver) -> None:
    answered = judged(made_run, with_attempts(made_run.rows(), 1, after="outcome"))
    assert (answered.verdict, "which was answered" in answered.because) == ("fail", True)
    copied = with_attempts(made_run.rows(), 2, after="charge")
    first = next(place for place, row in enumerate(copied) if row.kind == "attempt")
    copied[first] = replace(copied[first], kind="moved", charge_index=None)
    found = judged(made_run, copied)
    assert (found.verdict, "before the folder was copied" in found.because) == ("fail", True)


def test_an_attempt_that_names_no_charge_is_named(made_run: HandedOver) -> None:
    rows = with_attempts(made_run.rows(), 1, after="charge")
    stray = [replace(row, charge_index=0) if row.kind == "attempt" else row for row in rows]
    found = judged(made_run, stray)
    assert (found.verdict, "an attempt without a charge" in found.because) == ("fail", True)


def prospective_rows(made: HandedOver, changes: dict[str, str] | None) -> tuple[Rows, int]:
    """Rows whose internal table is a prospective one, after an acceptance if any; its place."""
    rows = edited(made.rows(), "internal", stage="prospective", purpose="evaluate.prospective")
    place = next(row.index for row in rows if row.kind == "charge" and row.stage == "prospective") - 1
    if changes is not None:
        accepted = {"kind": "accepted", "approved_by": "Ada Byron", "lock_sha256": "6" * 64}
        accepted |= {"plan_sha256": made.plan.sha256}
        rows[place] = replace(rows[place], **accepted | changes)  # type: ignore[arg-type]
    return rows, place


def test_an_acceptance_in_the_hour_of_a_row_with_an_earlier_versions_minutes_is_in_time(
    made_run: HandedOver,
) -> None:
    rows, place = prospective_rows(made_run, {})
    before = rows[place - 1]
    for utc, is_told in (
        (before.utc.replace(":00:00", ":59:59.5"), False),
        ("2999-01-01T00:00Z", True),
    ):
        rows[place - 1] = replace(before, utc=utc, version=6)
        told = judged(made_run, rows).because
        assert ("accepts a lock at a time before row" in told) == is_told, utc


@pytest.mark.parametrize(
    ("changes", "is_synthetic", "words"),
    [
        (None, False, "nobody had accepted a lock of the plan"),
        ({"plan_sha256": "5" * 64}, False, "nobody had accepted a lock of the plan"),
        ({"approved_by": "Ada"}, False, "nobody had accepted a lock of the plan"),
        ({"utc": "2015-01-01T00:00:00+00:00"}, False, "accepts a lock at a time before row"),
        ({"utc": "2015-01-01T00:00:00+00:00"}, True, ""),
        ({}, False, ""),
    ],
)
def test_a_prospective_table_is_of_a_lock_that_a_person_accepted_before_it_and_in_time(
    made_run: HandedOver, changes: dict[str, str] | None, is_synthetic: bool, words: str
) -> None:
    rows, _ = prospective_rows(made_run, changes)
    settings = made_run.plan.settings.model_copy(update={"is_synthetic": is_synthetic})
    plan = made_run.plan.model_copy(update={"settings": settings})
    plan.__dict__["sha256"] = made_run.plan.sha256
    told = judged(made_run, rows, plan=plan).because
    if words:
        assert words in told
    else:
        assert "lock" not in told


def test_a_validation_of_the_very_patients_who_trained_is_refuted(made_run: HandedOver) -> None:
    rows = made_run.rows()

    def verdicts(rows: Rows, site: str = "elm") -> list[str]:
        ledger = RecountedLedger(made_run.plan, site, tuple(rows))
        return [each.verdict for each in recount_splits(ledger)]

    assert verdicts(rows) == ["pass"]
    trained = next(row for row in rows if (row.kind, row.purpose) == ("charge", "train"))
    assert verdicts(edited(rows, "internal", members_sha256=trained.members_sha256)) == ["fail"]
    assert verdicts(made_run.rows("hop"), "hop") == [], "nobody trained there"
