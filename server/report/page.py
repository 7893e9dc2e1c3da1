"""Writes a run's report: one self-contained page for people, one JSON for programs.

The page makes no request of any kind (its content policy forbids it), reads in print and without
colour. Imports results, wording and pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from server.report import wording
from server.report.curves import draw_curves
from server.report.kept import write_kept
from server.report.patients import characteristics, clipping, described
from server.report.pictures import draw_flow, draw_forest, draw_rounds, forest_rows
from server.report.results import NO_GUARANTEE, FurtherResult, Results
from server.report.terminal import further_tables
from server.report.training import write_combination, write_totals
from shared.machine.files import write_atomic
from shared.sums.estimate import TOO_NOISY, Estimate, Measures

TEMPLATE = "report.html.j2"


def write_report(folder: Path, results: Results) -> tuple[Path, Path]:
    """Write ``report.html`` and ``report.json`` into ``folder`` and return both paths."""
    page, data = folder / "report.html", folder / "report.json"
    write_atomic(data, results.model_dump_json(indent=1).encode())
    write_atomic(page, render_page(results).encode())
    return page, data


def read_results(path: Path) -> Results:
    """The results in a ``report.json``."""
    return Results.model_validate_json(path.read_bytes())


def render_page(results: Results) -> str:
    """The page as HTML text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # a template is found beside this file, since it is no Python module
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "value": wording.write_value,
        "interval": wording.write_interval,
        "site": wording.write_site,
        "row": wording.write_row,
        "stage": wording.write_stage,
        "digits": wording.digits_of,
        "status": wording.write_status,
        "price": wording.write_price,
        "epsilon": wording.write_epsilon,
        "qualifiers": wording.write_qualifiers,
        "bytes": wording.write_bytes,
        "duration": wording.write_duration,
        "time": wording.write_time,
        "rounds": wording.write_rounds,
        "totals": write_totals,
        "combination": write_combination,
        "kept": write_kept,
    }
    is_regression = results.task.kind == "regression"
    return environment.get_template(TEMPLATE).render(
        results=results,
        is_regression=is_regression,
        is_followed=results.task.kind == "survival",
        is_noised=any(row.release_class == "dp" for row in results.validation),
        has_exact=any(row.release_class == "governed" for row in results.validation),
        mean_of_sites=wording.write_mean_of_sites(results),
        has_weights=results.training is not None and results.training.has_weights,
        has_kept=any(site.kept is not None for site in results.sites),
        headline=wording.headline(results),
        kinds=[
            (kind, meaning, [row for row in results.validation if row.kind == kind])
            for kind, meaning in wording.KIND_MEANING.items()
            if any(row.kind == kind for row in results.validation)
        ],
        further=[_seen_apart(*table) for table in further_tables(results)],
        described=described(results.description),
        characteristics=characteristics(results.description),
        clipping=clipping(results.description),
        not_described=[row for row in results.description if row.description is None],
        missing=[item for row in results.rounds for item in row.missing],
        auc_forest=draw_forest(
            forest_rows(results, _auc_of, with_random_effects=True),
            title="AUC by site",
            reference=0.5,
            reference_label="0.5: chance",
            floor=0.3,
        ),
        r2_forest=draw_forest(
            forest_rows(results, _r2_of, with_random_effects=False),
            title="R² by site",
            reference=0.0,
            reference_label="0: everybody gets the mean",
            floor=-0.5,
        )
        if is_regression
        else "",
        curves=draw_curves(results.curves),
        flow=draw_flow(results),
        strip=draw_rounds(results),
        not_a_device=wording.NOT_A_DEVICE,
        no_guarantee=NO_GUARANTEE,
        limits=(*results.limits, *wording.LIMITS),
    )


@dataclass(frozen=True)
class FurtherTable:
    """A further measure of a run: ``unseen``, its figures that noise hides at every site."""

    stage: str
    names: tuple[str, ...]
    unseen: tuple[str, ...]
    rows: tuple[FurtherResult, ...]


def _seen_apart(stage: str, names: Sequence[str], rows: Sequence[FurtherResult]) -> FurtherTable:
    """A table whose rows are the figures that some site shows, or withholds for another reason."""
    shown = [row.figures for row in rows if row.figures is not None]
    unseen = tuple(name for name in names if shown and all(f[name] == TOO_NOISY for f in shown))
    seen = tuple(name for name in names if name not in unseen)
    return FurtherTable(stage, seen, unseen, tuple(rows))


def _auc_of(measures: Measures) -> Estimate:
    return measures.auc


def _r2_of(measures: Measures) -> Estimate:
    return measures.r2
