"""Why an intake is refused as a whole, and the quarantine of the refused one, kept to be asked about.

It is kept beside the versions until an intake comes through, for the site's eyes. Imports the cohort.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from client.cohort.folder import Cohort
from client.cohort.quarantine import CODES, Quarantined, count_codes
from client.intake.changes import Changes
from client.intake.films import REPEATED_UID
from client.intake.losses import Losses
from shared.errors import IntakeError
from shared.exam.schema import CohortSchema
from shared.machine.files import write_atomic
from shared.signing.canonical import canonical_json

REFUSED_FILE = "refused-quarantine.jsonl"
WOULD_SHRINK = "intake.would-shrink"
# Codes of the refusals below: after them the quarantine can be looked at.
REFUSALS = frozenset(
    {"intake.too-much-lost", "intake.empty-cohort", "intake.field-lost", WOULD_SHRINK, REPEATED_UID}
)


@dataclass(frozen=True)
class RefusedIntake:
    """The quarantine of the latest intake that was refused, and when that was."""

    refused_utc: datetime
    quarantined: tuple[Quarantined, ...] = field(repr=False)


def refuse_repeated(name: str, quarantined: Sequence[Quarantined]) -> None:
    """Refuse an intake in which one name is borne by several films: a person decides which is right.

    Raises:
        IntakeError: films of other pixels, or of another patient, bear one SOP Instance UID.
    """
    n_films = len({entry.item for entry in quarantined if entry.code == REPEATED_UID})
    if n_films:
        raise IntakeError(
            "repeated-uid",
            f"{n_films} films bear the UID of another film, which shows something else or is of "
            "another patient",
            hint=f"`osteofed-site cohort {name} --examples` names them: export them anew, or take out "
            "those that are wrong",
        )


def refuse_loss(
    name: str,
    schema: CohortSchema,
    quarantined: Sequence[Quarantined],
    losses: Losses,
    *,
    n_exams: int,
) -> None:
    """Refuse an intake that lost too many patients, or that leaves no exam.

    Raises:
        IntakeError: more is lost than the schema allows, or no exam is left.
    """
    if losses.fraction > schema.max_lost_fraction:
        raise IntakeError(
            "too-much-lost",
            f"{losses.fraction:.1%} of patients are lost, "
            f"at most {schema.max_lost_fraction:.1%} may be; "
            f"most by {_listed(losses.by_code, quarantined)}{_besides(losses)}",
            hint=f"`osteofed-site cohort {name} --examples` shows what was quarantined and each "
            "remedy, and the words of the films",
        )
    if not n_exams:
        counts = sorted(count_codes(quarantined), key=lambda count: -count.n)
        unused = ", ".join(f"{count.code} ({count.n})" for count in counts[:3])
        raise IntakeError(
            "empty-cohort",
            f"no exam is left: {f'not used, most by {unused}' if unused else 'there was none to read'}",
            hint=f"`osteofed-site cohort {name} --examples` shows what was quarantined and each remedy",
        )


def _listed(by_code: Mapping[str, int], quarantined: Sequence[Quarantined]) -> str:
    """The commonest causes, each with the columns that it was found in, where it is of a column."""
    columns: dict[str, dict[str, None]] = {}
    for entry in quarantined:
        if entry.field:
            columns.setdefault(entry.code, {})[entry.field] = None
    return ", ".join(
        f"{code}{_of(columns.get(code, {}))} ({n})" for code, n in list(by_code.items())[:3]
    )


def _of(columns: Iterable[str]) -> str:
    named = ", ".join(columns)
    return f" of {named}" if named else ""


def _besides(losses: Losses) -> str:
    films = dict(sorted(losses.nameless_films.items(), key=lambda item: -item[1]))
    return f"; films of no known patient: {_listed(films, ())}" if films else ""


def unread_fields(schema: CohortSchema, quarantined: Sequence[Quarantined], n_rows: int) -> list[str]:
    """Fields of which more values cannot be read than the schema allows to be lost, a line each."""
    counts = Counter(
        (entry.field, entry.code)
        for entry in quarantined
        if entry.kind == "value" and entry.field in {field.name for field in schema.fields}
    )
    return [
        f"  {field}: {code} in {n} of {n_rows} rows; {CODES[code].remedy}"
        for (field, code), n in sorted(counts.items())
        if n > schema.max_lost_fraction * n_rows
    ]


def refuse_unread(schema: CohortSchema, quarantined: Sequence[Quarantined], n_rows: int) -> None:
    """Refuse an intake of which a field would be missing for many without anybody noticing.

    Raises:
        IntakeError: of a field more values are lost than the schema allows.
    """
    lost = unread_fields(schema, quarantined, n_rows)
    if lost:
        raise IntakeError(
            "field-lost",
            f"more than {schema.max_lost_fraction:.0%} of a field's values cannot be read:\n"
            + "\n".join(lost),
            hint="map words under `synonyms` of the schema, units under `units` of the profile; a "
            "field that the table does not have is named under `not_collected`",
        )


def refuse_fewer(before: Cohort | None, changes: Changes) -> None:
    """Refuse a version that holds less than the one before.

    Raises:
        IntakeError: exams of the version before are missing, or have fewer films.
    """
    if before is not None and changes.n_lost:
        raise IntakeError(
            "would-shrink",
            f"of the {len(before.exams)} exams of {before.name} v{before.version}, "
            f"{changes.missing} would be missing and {changes.fewer_films} would have fewer films",
            hint="see that the whole archive is there and named; if fewer are meant, as under a "
            "stricter schema, run the same again with --allow-fewer: no film is read twice",
        )


def keep_refused(folder: Path, quarantined: Sequence[Quarantined]) -> None:
    """Keep the quarantine of a refused intake in a cohort's folder."""
    lines = [canonical_json(asdict(entry)) + b"\n" for entry in quarantined]
    write_atomic(folder / REFUSED_FILE, b"".join(lines), mode=0o600)


def forget_refused(folder: Path) -> None:
    """Delete the quarantine of a refused intake, after a later one has come through."""
    (folder / REFUSED_FILE).unlink(missing_ok=True)


def read_refused(folder: Path) -> RefusedIntake | None:
    """The latest intake into a cohort, if it was refused.

    Raises:
        IntakeError: its quarantine is damaged.
    """
    path = folder / REFUSED_FILE
    if not path.exists():
        return None
    try:
        entries = tuple(Quarantined(**json.loads(line)) for line in path.read_bytes().splitlines())
    except (ValueError, TypeError) as error:
        raise IntakeError(
            "damaged-quarantine",
            f"{REFUSED_FILE} cannot be read: {type(error).__name__}",
            hint="delete it; the next intake writes what it finds",
        ) from None
    return RefusedIntake(datetime.fromtimestamp(path.stat().st_mtime, UTC), entries)
