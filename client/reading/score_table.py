"""Reads a table of patients with a release that takes no films: a score and a class for every row.

Rows are understood as an intake understands them, with the site's own names and units; what cannot be
used keeps its row and says why. Nothing is charged, because nothing leaves. Not a medical device.
Imports the intake's reading of tables and the reading of one exam.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from client.cohort.label import label_bmd
from client.intake.clinical import ClinicalRow, RawRow, interpret_rows
from client.intake.sources.tables import file_table
from client.reading.asking import make_scored
from client.reading.predict import risks_by_edge
from client.site.profile import SiteProfile
from shared.contract.release import Release
from shared.errors import IntakeError
from shared.exam.standardise import standardise
from shared.machine.files import write_atomic

_LACKING = ""


@dataclass(frozen=True)
class ScoredTable:
    """A table's rows in their order, as text: ``columns`` name the cells of each.

    ``n_scored``: rows with a score; the others say in ``not read`` which code an intake would give.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_scored: int

    def write(self, path: Path) -> None:
        """A CSV file for this hospital's own eyes.

        Raises:
            IntakeError: the file is there already.
        """
        if path.exists():
            raise IntakeError(
                "file-exists", f"{path.name} is there already", hint="name another file with --out"
            )
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        write_atomic(path, text.getvalue().encode(), mode=0o600)


def score_table(release: Release, path: Path, profile: SiteProfile, *, today: date) -> ScoredTable:
    """Scores and classes of a table's rows.

    Args:
        release: a verified release that reads no films.
        path: CSV, Parquet or FHIR, as an intake takes them; no label is needed.
        profile: the site's own names and units.
        today: rows of a later day are not read.

    Raises:
        IntakeError: the release reads films, or the table lacks a column that the model needs.
    """
    settings = release.plan.settings
    if settings.reads_films:
        raise IntakeError(
            "reads-films",
            "this release reads films, and a table has none",
            hint="read exams one by one: name their DICOM files, and values with --value",
        )
    unlabelled = profile.model_copy(update={"has_labels": False})
    raw = file_table(path, settings.cohort, unlabelled)
    table = interpret_rows(
        raw.header,
        raw.rows,
        schema=settings.cohort,
        profile=unlabelled,
        today=today,
        item_of=str,
    )
    codes = {entry.item: entry.code for entry in table.quarantined if entry.kind == "row"}
    ignored: dict[str, list[str]] = defaultdict(list)
    for entry in table.quarantined:
        if entry.kind == "value":
            ignored[entry.item].append(f"{entry.field}: {entry.code}")
    scores = _scores(release, table.rows)
    columns = _score_columns(release)
    return ScoredTable(
        columns=("row", "patient", "date", *columns, "not read", "values not used"),
        rows=tuple(
            (
                str(raw_row.number),
                _typed(raw_row, settings.cohort.patient_column, unlabelled),
                _typed(raw_row, settings.cohort.date_column, unlabelled),
                *scores.get(raw_row.number, (_LACKING,) * len(columns)),
                codes.get(str(raw_row.number), _LACKING),
                "; ".join(ignored[str(raw_row.number)]),
            )
            for raw_row in raw.rows
        ),
        n_scored=len(scores),
    )


def _typed(row: RawRow, name: str | None, profile: SiteProfile) -> str:
    """One cell of a row as it was typed, in the hospital's own file for the hospital."""
    return (row.cells or {}).get(profile.column(name), _LACKING) if name else _LACKING


def _score_columns(release: Release) -> tuple[str, ...]:
    settings, decision = release.plan.settings, release.record.decision
    if settings.cohort.label.kind == "time_to_event":
        label = settings.cohort.label
        return (*(f"risk by {edge:g} {label.unit}" for edge in label.edges), "class")
    if not decision.is_regression:
        return (*(f"probability of {name}" for name in decision.classes), "likeliest class", "class")
    unit = f" [{settings.task.target_unit}]" if settings.task.kind == "regression" else ""
    t_score = ("T-score",) if settings.cohort.label.kind == "bmd" else ()
    return (f"value{unit}", *t_score, "class")


def _scores(release: Release, rows: Sequence[ClinicalRow]) -> Mapping[int, tuple[str, ...]]:
    """Cells of ``_score_columns`` by row number."""
    import torch

    if not rows:
        return {}
    decision, label = release.record.decision, release.plan.settings.cohort.label
    fields, mask = standardise([row.values for row in rows], release.plan.settings.cohort)  # [n,k]
    outputs = (
        make_scored(release)(
            torch.zeros(len(rows), 0, 0, 0),
            torch.from_numpy(fields)[:, None],
            torch.from_numpy(mask)[:, None],
        )
        .numpy()
        .astype(np.float64)
    )  # [n,o]
    called = decision.call(outputs)
    cells: dict[int, tuple[str, ...]] = {}
    for row, output, place in zip(rows, outputs, called, strict=True):
        numbers = [f"{value:.4f}" for value in output]
        if label.kind == "time_to_event":
            risks = risks_by_edge(label, output).values()
            cells[row.number] = (*(f"{risk:.4f}" for risk in risks), decision.classes[int(place)])
            continue
        if decision.is_regression and label.kind == "bmd":
            read = label_bmd(float(output[0]), vendor=label.reference_vendor, label=label)
            numbers.append(f"{read.t_score:+.2f}")
        if not decision.is_regression:
            numbers.append(decision.classes[int(decision.likeliest(output[None])[0])])
        cells[row.number] = (*numbers, decision.classes[int(place)])
    return cells
