"""Exact figures that may stand beside each other: their differences must be no few patients.

Two sets of patients one apart give that patient, and four sets that differ by ten each still can,
whatever each was asked for. So governed releases are of exactly the same patients or of none in common,
over all plans, cohorts and purposes, and of the same patients there are few: two models that differ on
one patient give that patient's label. Imports the ledger's format and stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from shared.contract.stages import TABLE_KIND, beside_exact_error
from shared.errors import PrivacyError
from shared.privacy.ledger_format import RELEASED, LedgerRow

_DESCRIPTION, _INTERNAL = "evaluate.description", "evaluate.internal"
# Purposes that ask everybody of a cohort; an internal split is a fixed part of them.
_OF_EVERYBODY = ("evaluate.external", _DESCRIPTION)
Place = tuple[str, str, int]


class ExactReleases:
    """The governed charges of a ledger.

    Args:
        rows: all rows so far.
        load_members: PatientKeys of a member list, by its hash.
    """

    def __init__(
        self, rows: Sequence[LedgerRow], *, load_members: Callable[[str], frozenset[str]]
    ) -> None:
        self._load = load_members
        self._released = {
            row.charge_index for row in rows if row.kind == "outcome" and row.status == RELEASED
        }
        refused = {row.charge_index for row in rows if row.kind == "outcome" and row.status != RELEASED}
        self._charges = [
            row
            for row in rows
            if (row.kind, row.charge_class) == ("charge", "governed") and row.index not in refused
        ]

    def require_no_difference(
        self, asked: LedgerRow, members: frozenset[str], *, most: int, least: int
    ) -> int:
        """Refuse what could be subtracted from an earlier release, or is one too many.

        Args:
            asked: the charge as it would be written.
            members: PatientKeys of every patient that it would touch.
            most: releases of the same patients.
            least: patients that may be everybody's and not the internal split's.

        Returns:
            How many there were of the same patients: descriptions, or measures of a model.

        Raises:
            PrivacyError: ``governed-other-members`` or ``governed-repeated``.
            PolicyError: ``exact-beside-exact``: a further one is no table, or follows one that is none.
        """
        touched = self._touching(members, apart_from=asked)
        if not self._may_differ(asked, members, touched, least=least):
            raise PrivacyError(
                "governed-other-members",
                "an exact release was of some of these patients and not of exactly them",
                hint="ask for noised tables: the difference of exact figures is a few patients",
            )
        before = _of_the_same(touched, asked)
        n_before = len({_place(row) for row in before})
        if n_before >= most:
            raise PrivacyError(
                "governed-repeated",
                f"a split has at most {most} governed releases here, and these patients had theirs",
                hint="ask for noised tables, or raise governed_releases_per_split in policy.yaml "
                "deliberately",
            )
        if before and {asked.stage_kind, *(row.stage_kind for row in before)} != {TABLE_KIND}:
            raise beside_exact_error()
        return n_before

    def released_before(self, charged: LedgerRow) -> tuple[LedgerRow, ...]:
        """Charges of the same patients and kind whose figures have left before this one's, in order."""
        touched = self._touching(self._load(charged.members_sha256), apart_from=charged)
        return tuple(row for row in _of_the_same(touched, charged) if row.index in self._released)

    def _touching(self, members: frozenset[str], *, apart_from: LedgerRow) -> list[LedgerRow]:
        """Charges of any of these patients, those of the same round of the same plan apart."""
        return [
            row
            for row in self._charges
            if _place(row) != _place(apart_from) and self._load(row.members_sha256) & members
        ]

    def _may_differ(
        self, asked: LedgerRow, members: frozenset[str], touched: Iterable[LedgerRow], *, least: int
    ) -> bool:
        """Whether all are of the same patients, or one set is an internal split and one its cohort.

        Then one set can be told from the two, that of at least ``least`` people between them.
        """
        others = [row for row in touched if row.members_sha256 != asked.members_sha256]
        if not others:
            return True
        sets = {members: asked.members_sha256}
        sets |= {self._load(row.members_sha256): row.members_sha256 for row in others}
        inner, outer = min(sets, key=len), max(sets, key=len)
        whole = [asked, *self._touching(outer, apart_from=asked)]
        purposes = {
            each: {row.purpose for row in whole if row.members_sha256 == sets[each]}
            for each in (inner, outer)
        }
        return (
            {row.members_sha256 for row in whole} == {sets[inner], sets[outer]}
            and purposes[inner] == {_INTERNAL}
            and purposes[outer] <= set(_OF_EVERYBODY)
            and inner <= outer
            and len(outer) - len(inner) >= least
        )


def _of_the_same(rows: Iterable[LedgerRow], asked: LedgerRow) -> list[LedgerRow]:
    """Of the same patients: descriptions, or all that measure a model."""
    is_description = asked.purpose == _DESCRIPTION
    return [
        row
        for row in rows
        if row.members_sha256 == asked.members_sha256
        and (row.purpose == _DESCRIPTION) == is_description
    ]


def _place(row: LedgerRow) -> Place:
    return row.plan_sha256, row.stage, row.round
