"""What an intake did not use, grouped by what it means: unread, to be corrected, left out on purpose.

For the site's eyes only: examples name files and rows. Imports quarantine and linkage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from client.cohort.quarantine import Quarantined, reason_of
from client.site.linkage import Linkage

EXAMPLES = 3
COSTS = "; the patient has no other film, and is lost"
# Codes after which nobody knows whether the film or row is good: only that nothing here reads it.
CANNOT_READ = frozenset(
    {
        "intake.unreadable-dicom",
        "intake.unsupported-syntax",
        "intake.decoder-failed",
        "intake.unsupported-depth",
        "intake.absent-film",
        "intake.too-large",
        "intake.several-frames",
        "intake.not-greyscale",
        "intake.malformed-row",
        "intake.not-a-number",
        "intake.unknown-words",
        "intake.stray-bits",
        "intake.unreadable-mask",
    }
)


@dataclass(frozen=True)
class QuarantineRow:
    """One reason: how many, what it means, where some of them are, what to do."""

    kind: str
    code: str
    n: int
    meaning: str
    remedy: str
    fields: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class QuarantineGroup:
    """Reasons of one nature."""

    title: str
    explanation: str
    rows: tuple[QuarantineRow, ...]

    @property
    def n(self) -> int:
        """How many inputs."""
        return sum(row.n for row in self.rows)


def group_quarantine(entries: Sequence[Quarantined], linkage: Linkage) -> list[QuarantineGroup]:
    """What was not used, by what it means: unread, to be corrected, left out on purpose."""
    by_code: dict[tuple[str, str, bool], list[Quarantined]] = {}
    for entry in entries:
        by_code.setdefault((entry.kind, entry.code, entry.is_loss), []).append(entry)
    unread, wrong, aside = [], [], []
    for (_, code, is_loss), members in sorted(by_code.items(), key=lambda item: -len(item[1])):
        row = _quarantine_row(members, linkage)
        if code in CANNOT_READ:
            unread.append(row)
        elif is_loss:
            wrong.append(row)
        else:
            aside.append(row)
    return [
        QuarantineGroup(
            "Could not be read",
            "Nobody knows yet whether these are good or bad: this program has no way to read them. "
            "That alone does not make them bad, and without them the cohort may be less like your "
            "patients.",
            tuple(unread),
        ),
        QuarantineGroup(
            "To be corrected",
            "These were read, and something about them keeps them from being used. Most can be mended "
            "at the source; the next intake takes them in.",
            tuple(wrong),
        ),
        QuarantineGroup(
            "Left out on purpose",
            "These do not belong into this cohort by its rules. Nothing is lost.",
            tuple(aside),
        ),
    ]


def _quarantine_row(members: Sequence[Quarantined], linkage: Linkage) -> QuarantineRow:
    first = members[0]
    places = [linkage.place_of(entry.item) for entry in members]
    named = [place for place in dict.fromkeys(places) if place is not None]
    counted = Counter(entry.field for entry in members if entry.field)
    return QuarantineRow(
        kind=first.kind,
        code=first.code,
        n=len(members),
        meaning=reason_of(first.code).meaning + (COSTS if first.costs_patient else ""),
        remedy=reason_of(first.code).remedy,
        fields=", ".join(f"{field} ({n})" for field, n in counted.most_common()),
        examples=tuple(named[:EXAMPLES]),
    )
