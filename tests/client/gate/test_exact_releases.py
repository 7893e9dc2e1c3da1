"""Of exact figures no difference is a few patients: all the same ones or none, and few releases."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from practice_site import PATIENTS, make_charge, open_ledger

from client.gate.ledger import Ledger
from shared.errors import PrivacyError
from shared.privacy.filter import Allowance

ALLOWANCE = Allowance(epsilon_lifetime=4.5, epsilon_per_run=50.0, delta=1e-5)
EXACT: dict[str, object] = {"event": None, "charge_class": "governed", "stage_kind": "table"}
EVERYBODY = ("evaluate.external", "evaluate.description")
ASKED_EXACTLY = ("evaluate.internal", "evaluate.prospective", *EVERYBODY)


def charge(ledger: Ledger, number: int, members: list[str], **changes: object) -> None:
    asked = make_charge(number, **({"plan_sha256": f"plan-{number}"} | changes))
    ledger.charge(asked, members=members, allowance=ALLOWANCE)


def test_governed_releases_of_the_same_patients_are_counted_over_plans_and_refused_ones_are_not(
    tmp_path: Path,
) -> None:
    ledger = open_ledger(tmp_path)
    exact = EXACT | {"purpose": "evaluate.external"}
    charge(ledger, 1, PATIENTS[:20], **exact)
    charge(ledger, 1, PATIENTS[:20], **exact)  # the first attempt died
    charge(ledger, 2, PATIENTS[20:], **exact)  # patients of whom nothing was shown
    charge(ledger, 3, PATIENTS[:20], **exact | {"purpose": "evaluate.description"})
    # two models that differ on one patient give that patient's label, whatever they were asked for
    for purpose in ("evaluate.external", "evaluate.prospective"):
        with pytest.raises(PrivacyError, match="at most 1 governed") as caught:
            charge(ledger, 4, PATIENTS[:20], **exact | {"purpose": purpose})
        assert caught.value.code == "privacy.governed-repeated"
    for row in [row for row in ledger.show() if row.kind == "charge"]:
        if row.plan_sha256 == "plan-1":
            ledger.record_outcome(row.request_sha256, status="policy.cell-too-small")
            break
    charge(ledger, 4, PATIENTS[:20], **exact)


@pytest.mark.parametrize("earlier", ASKED_EXACTLY)
@pytest.mark.parametrize("later", ASKED_EXACTLY)
def test_an_exact_release_is_of_exactly_the_patients_of_every_earlier_one_or_of_none_of_them(
    tmp_path: Path, earlier: str, later: str
) -> None:
    ledger, most = open_ledger(tmp_path), 9
    charge(ledger, 1, PATIENTS[:20], **EXACT | {"purpose": earlier})
    charge(ledger, 2, PATIENTS[20:40], **EXACT | {"purpose": earlier})
    asked = make_charge(3, **EXACT | {"plan_sha256": "plan-3", "purpose": later})
    of_models = {earlier, later}.isdisjoint({"evaluate.description"})
    so_far = 1 if of_models or earlier == later else 0
    # One patient less, one more, ten others: a version apart, and four sets can single one out.
    for members in (PATIENTS[:19], PATIENTS[:21], PATIENTS[10:30], PATIENTS):
        with pytest.raises(PrivacyError) as caught:
            ledger.charge(
                asked, members=members, allowance=ALLOWANCE, governed_releases=most, minimum_cell=5
            )
        assert caught.value.code == "privacy.governed-other-members"
        with pytest.raises(PrivacyError):
            ledger.governed_so_far(asked, members=members, most=most, minimum_cell=5)
    n_rows = len(ledger.show())
    found = ledger.governed_so_far(asked, members=PATIENTS[:20], most=most, minimum_cell=5)
    assert found == so_far
    assert len(ledger.show()) == n_rows, "to look writes nothing"
    ledger.charge(asked, members=PATIENTS[40:], allowance=ALLOWANCE)


@pytest.mark.parametrize("everybody", EVERYBODY)
@pytest.mark.parametrize("is_internal_first", [True, False])
def test_an_internal_split_and_everybody_may_both_be_exact_where_many_are_between_them(
    tmp_path: Path, everybody: str, is_internal_first: bool
) -> None:
    pair = [("evaluate.internal", PATIENTS[:12]), (everybody, PATIENTS[:22])]
    first, second = pair if is_internal_first else reversed(pair)
    for least, is_allowed in ((11, False), (10, True)):
        folder = tmp_path / str(least)
        folder.mkdir()
        ledger = open_ledger(folder)
        charge(ledger, 1, first[1], **EXACT | {"purpose": first[0]})
        asked = make_charge(2, **EXACT | {"plan_sha256": "plan-2", "purpose": second[0]})
        ask = partial(ledger.charge, asked, members=second[1], allowance=ALLOWANCE, minimum_cell=least)
        if is_allowed:
            ask()
            continue
        with pytest.raises(PrivacyError) as caught:
            ask()
        assert caught.value.code == "privacy.governed-other-members"


def test_an_earlier_governed_charge_has_shown_nothing_until_it_is_released(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    exact = EXACT | {"purpose": "evaluate.external"}
    charge(ledger, 1, PATIENTS[:20], **exact)
    first = ledger.show()[-1]
    ledger.charge(
        make_charge(2, **exact | {"plan_sha256": "plan-2"}),
        members=PATIENTS[:20],
        allowance=ALLOWANCE,
        governed_releases=2,
    )
    second = ledger.show()[-1]
    assert ledger.governed_before(second) == ()
    ledger.record_outcome(first.request_sha256, status="released")
    assert ledger.governed_before(second) == (first,)


@pytest.mark.parametrize("everybody", EVERYBODY)
def test_two_internal_splits_and_everybody_leave_nobody_who_could_be_told(
    tmp_path: Path, everybody: str
) -> None:
    sets = [PATIENTS[:20], PATIENTS[20:40], PATIENTS[:41]]  # the last less the others is one person
    purposes = ["evaluate.internal", "evaluate.internal", everybody]
    for last in range(3):
        folder = tmp_path / str(last)
        folder.mkdir()
        ledger = open_ledger(folder)
        first, second = (place for place in range(3) if place != last)

        def ask(place: int, ledger: Ledger = ledger) -> None:
            asked = EXACT | {"plan_sha256": f"plan-{place}", "purpose": purposes[place]}
            row = make_charge(place, **asked)
            ledger.charge(row, members=sets[place], allowance=ALLOWANCE, minimum_cell=5)

        ask(first)
        ask(second)
        with pytest.raises(PrivacyError) as caught:
            ask(last)
        assert caught.value.code == "privacy.governed-other-members"
