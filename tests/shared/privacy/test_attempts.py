"""What became of a charge: open until its outcome or a move, and repeated five times at most."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from shared.privacy.attempts import MOST_REPEATS, Attempts
from shared.privacy.ledger_format import GENESIS, LedgerRow

INDICES: Iterator[int] = count()


def row(kind: str, about: LedgerRow | None = None) -> LedgerRow:
    return LedgerRow(
        index=next(INDICES),
        previous_sha256=GENESIS,
        utc="2026-01-01T00:00:00+00:00",
        site="north",
        public_key="",
        kind=kind,  # type: ignore[arg-type]
        charge_index=about.index if about else None,
        place_sha256="p" if kind in ("opened", "moved") else "",
    )


def admitted(*rows: LedgerRow) -> Attempts:
    attempts = Attempts()
    for each in rows:
        attempts.admit(each)
    return attempts


def test_a_charge_is_open_until_it_has_its_outcome() -> None:
    opened, charge, other = row("opened"), row("charge"), row("charge")
    outcome = row("outcome", charge)
    attempts = admitted(opened, charge, other)
    assert attempts.is_open(charge)
    assert attempts.outcome_of(charge) is None
    attempts.admit(outcome)
    assert (attempts.is_open(charge), attempts.may_repeat(charge)) == (False, False)
    assert attempts.outcome_of(charge) == outcome
    assert attempts.may_repeat(other)


def test_a_charge_is_repeated_five_times_and_stays_open_to_be_answered() -> None:
    opened, charge = row("opened"), row("charge")
    attempts = admitted(opened, charge)
    for _ in range(5):
        assert attempts.may_repeat(charge)
        attempts.admit(row("attempt", charge))
    assert MOST_REPEATS == 5
    assert (attempts.is_open(charge), attempts.may_repeat(charge)) == (True, False)


def test_what_was_open_before_a_move_is_never_repeated() -> None:
    opened, charge, moved, later = row("opened"), row("charge"), row("moved"), row("charge")
    attempts = admitted(opened, charge)
    assert attempts.may_repeat(charge)
    attempts.admit(moved)
    attempts.admit(later)
    assert (attempts.is_open(charge), attempts.may_repeat(charge)) == (False, False)
    assert attempts.may_repeat(later)


def test_a_ledger_that_never_said_where_it_lies_has_nothing_open() -> None:
    charge = row("charge")
    assert not admitted(charge).is_open(charge)
