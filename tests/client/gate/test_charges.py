"""Charges by request, round and patients, as rows tell them; what is held does not grow with rounds."""

from __future__ import annotations

from dataclasses import replace

from client.gate.charges import Charges
from shared.privacy.events import GaussianEvent
from shared.privacy.ledger_format import GENESIS, LedgerRow

ROUNDS = 60


def charge(number: int, **changes: object) -> LedgerRow:
    row = LedgerRow(
        index=number,
        previous_sha256=GENESIS,
        utc="2026-01-01T00:00:00+00:00",
        site="north",
        public_key="",
        kind="charge",
        plan_sha256="a",
        stage="train",
        round=number,
        request_sha256=f"request-{number}",
        members_sha256="everybody",
        charge_class="dp",
        noise_multiplier=10.0,
        sample_rate=1.0,
        steps=5,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def admitted(*rows: LedgerRow) -> Charges:
    charges = Charges()
    for row in rows:
        charges.admit(row)
    return charges


def test_a_request_has_its_charges_oldest_first_and_no_other_row() -> None:
    first, second = charge(1), charge(2, request_sha256="request-1")
    charges = admitted(first, charge(3), second, charge(4, kind="attempt", request_sha256="request-1"))
    assert charges.of_request("request-1") == (first, second)
    assert charges.newest("request-1") == second
    assert charges.of_request("never asked") == ()
    assert charges.newest("never asked") is None


def test_a_round_belongs_to_the_request_that_was_charged_first() -> None:
    charges = admitted(charge(1), charge(2, round=1))
    assert charges.request_of("a", "train", 1) == "request-1"
    assert charges.request_of("b", "train", 1) is None


def test_events_are_of_the_lists_and_plans_that_are_asked() -> None:
    charges = admitted(
        charge(1), charge(2, plan_sha256="b", steps=7), charge(3, members_sha256="others", steps=11)
    )
    everybody = frozenset({"everybody"})
    assert charges.lists == {"everybody", "others"}
    assert [event.steps for event in charges.events_of(charges.lists)] == [23]
    assert [event.steps for event in charges.events_of(everybody, "a")] == [5]
    assert [event.steps for event in charges.events_of(everybody, besides=("a",))] == [7]
    assert charges.events_of(frozenset()) == ()


def test_a_charge_without_an_event_counts_its_list_and_costs_nothing() -> None:
    charges = admitted(charge(1, noise_multiplier=None, sample_rate=None, steps=None))
    assert charges.lists == {"everybody"}
    assert charges.events_of(charges.lists) == ()


def test_however_many_rounds_were_charged_a_question_takes_one_merged_event() -> None:
    for n_rounds in (3, ROUNDS):
        charges = admitted(*(charge(number) for number in range(n_rounds)))
        merged = charges.events_of(charges.lists)
        assert merged == (GaussianEvent(noise_multiplier=10.0, sample_rate=1.0, steps=5 * n_rounds),)
