"""The product's figures beside stored answers of R and scikit-learn, and docs/references.md of them.

``tests/practice/references`` holds the data, the answers with their certificates (tool, version,
script, day, hash of the data) and the scripts that made them, which know nothing of this code. Which
figures there are: ``reference_rows``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent / "references"
PAGE = FOLDER.parents[2] / "docs" / "references.md"
TOOLS = {"r": "R", "sklearn": "Python", "lifelines": "Python"}
# Answers that lie with data of their own.
OWN_DATA = {"lifelines": "survival.json"}
TIMES = PAGE.parent / "data" / "bench_measures.json"
TOLERANCE, ROUNDING = 1e-10, 1e-12
SHOWN_VALUES = 6
INTRODUCTION = """# References

Written by `make references`; nothing here is typed by hand.

Every figure is computed by the product's own function on fixed data (`tests/practice/references`:
{patients} patients with a score, a rival score with ties, a continuous and a graded target; {others}
other patients; 8 hospitals whose AUCs differ, then 5 whose AUCs do not; 7 p-values; {followed} patients
followed to an event, a competing one or the end) and held against
the stored answer of another program that has the same data. "By hand" is the definition written out in
that language. Difference is the largest of a row; what the order of additions can change is below
{rounding:g}. `tests/shared/measures/test_references.py` fails above {tolerance:g}, where a difference
is **bold**.

"""
Floats = NDArray[np.float64]
Data = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A statistic, and the answer that it is held against, by which function of which tool."""

    name: str
    answer: str
    tool: str
    function: str
    ours: Callable[[Data], object]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A row with the figures of both sides."""

    row: Row
    ours: Floats
    reference: Floats

    @property
    def difference(self) -> float:
        """The largest of all figures of the row."""
        return float(np.abs(self.ours - self.reference).max())


@cache
def answers_of(tool: str) -> dict[str, dict[str, object]]:
    """The stored file of a tool: its certificate and its answers."""
    return dict(json.loads((FOLDER / file_of(tool)).read_text()))


def file_of(tool: str) -> str:
    """The name of the stored file of a tool."""
    return OWN_DATA.get(tool, f"answers_{tool}.json")


def certificate_of(tool: str) -> dict[str, str]:
    """Tool, script, day, hash of the data; R writes each as a list of one."""
    found = answers_of(tool)["certificate"]
    return {k: str(v[0] if isinstance(v, list) else v) for k, v in found.items()}


def data_sha256() -> str:
    """Of the shared data as they lie here."""
    return hashlib.sha256((FOLDER / "data.json").read_bytes()).hexdigest()


@cache
def data(tool: str = "r") -> Data:
    """The fixed data of a tool."""
    read = (
        answers_of(tool)["data"] if tool in OWN_DATA else json.loads((FOLDER / "data.json").read_text())
    )
    return {name: np.array(value) for name, value in read.items() if name != "certificate"}


def compare(row: Row) -> Compared:
    """Both sides of a row."""
    stored = answers_of(row.tool)["answers"][row.answer]
    ours = np.concatenate(
        [np.ravel(np.asarray(each, dtype=float)) for each in _parts(row.ours(data(row.tool)))]
    )
    reference = np.array([float(each) for each in np.ravel(np.asarray(stored, dtype=object))])
    if ours.shape != reference.shape:
        raise ValueError(f"{row.name}: {ours.size} figures beside {reference.size}")
    return Compared(row=row, ours=ours, reference=reference)


def _parts(found: object) -> list[object]:
    return list(found) if isinstance(found, list | tuple) else [found]


def page(rows: Sequence[Row]) -> str:
    """The page, the same on every machine: differences are bounds."""
    d = data()
    parts = [
        INTRODUCTION.format(
            patients=d["is_ill"].size,
            others=d["other_ill"].size,
            followed=data("lifelines")["years"].size,
            rounding=ROUNDING,
            tolerance=TOLERANCE,
        ),
        "| statistic | value | reference | difference |\n|---|---|---|---|\n",
        *(_line_of(compare(row)) for row in rows),
        "\n## Certificates\n\n| answers | tool | script | day | SHA-256 of the data |\n",
        "|---|---|---|---|---|\n",
    ]
    for tool in TOOLS:
        born = certificate_of(tool)
        of_data = "its own" if tool in OWN_DATA else f"`{born['data_sha256'][:16]}…`"
        parts.append(
            f"| `{file_of(tool)}` | {born['tool']} | `tests/practice/references/{born['script']}` "
            f"| {born['date']} | {of_data} |\n"
        )
    return "".join([*parts, *_times()])


def _times() -> list[str]:
    """How long what is computed many times takes, as `make bench-measures` kept it."""
    rows = json.loads(TIMES.read_text())["rows"]
    return [
        "\n## Time\n\nKept by `make bench-measures`: both ways of a row in one run, on one thread, "
        f"with the same answers to {TOLERANCE:g}; the fastest repeat of each.\n\n",
        "| what | ours, ms | beside | its, ms | ratio |\n|---|---|---|---|---|\n",
        *(
            f"| {each['what']} | {1e3 * each['ours_s']:.3g} | {each['other']} "
            f"| {1e3 * each['other_s']:.4g} | {each['other_s'] / each['ours_s']:.0f} |\n"
            for each in rows
        ),
    ]


def _line_of(found: Compared) -> str:
    row, values = found.row, found.ours
    shown = ", ".join(f"{each:.6g}" for each in values)
    if values.size > SHOWN_VALUES:
        shown = f"{values.size} figures"
    bounds = [each for each in (ROUNDING, TOLERANCE) if found.difference < each]
    difference = f"< {bounds[0]:g}" if bounds else f"**{found.difference:.1e}**"
    return f"| {row.name} | {shown} | {TOOLS[row.tool]}: {row.function} | {difference} |\n"
