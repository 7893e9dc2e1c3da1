"""Writes measured figures, and a demo's outcome, into README and docs: no figure is typed by hand.

What was measured is kept in ``docs/data``; every page, block and plot follows from it, and a test
writes them again and compares. Imports files, the plot and the report's tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from server.experiments.figure import Figure, Figures, Row
from server.experiments.plot import ARMS, HEAD_WORDS, draw_epsilon_plot
from server.report.results import Results
from server.report.terminal import PRIVACY, TerminalTable, table_for_terminal
from server.report.wording import main_row
from shared.machine.files import PROJECT, write_atomic

FIGURES_DATA, DEMO_DATA = "docs/data/figures.json", "docs/data/demo.json"
_KINDS = ("internal", "external", "prospective")
# Whose arms the README's plot shows: the default head.
_HEAD = "cross_attention"


class DemoOutcome(BaseModel):
    """What one demo measured.

    Attributes:
        seconds: that the whole of it took.
        results: as its report has them.
    """

    seconds: float
    results: Results


def write_figures(figures: Figures, *, root: Path = PROJECT) -> dict[str, Path]:
    """Keep measured figures, and write their page, the plot and the README's block."""
    write_atomic(root / FIGURES_DATA, TypeAdapter(Figures).dump_json(figures, indent=1) + b"\n")
    return _write(root, figure_pages(figures)) | _fill(root, "figures", figures_block(figures))


def write_demo(results: Results, seconds: float, *, root: Path = PROJECT) -> dict[str, Path]:
    """Keep what a demo measured, and write its tables into docs and its pooled rows into the README."""
    outcome = DemoOutcome(seconds=round(seconds), results=results)
    write_atomic(root / DEMO_DATA, outcome.model_dump_json(indent=1).encode() + b"\n")
    return _write(root, demo_pages(outcome)) | _fill(root, "demo", demo_block(outcome))


def read_figures(root: Path = PROJECT) -> Figures:
    """The figures that are kept."""
    return TypeAdapter(Figures).validate_json((root / FIGURES_DATA).read_bytes())


def read_demo(root: Path = PROJECT) -> DemoOutcome:
    """The demo's outcome that is kept."""
    return DemoOutcome.model_validate_json((root / DEMO_DATA).read_bytes())


def figure_pages(figures: Figures) -> dict[str, str]:
    """Text by path in the project: every arm, and the plot."""
    return {
        "docs/figures.md": _full_page(figures),
        "docs/pictures/epsilon.svg": draw_epsilon_plot(figures, head=_HEAD),
    }


def demo_pages(outcome: DemoOutcome) -> dict[str, str]:
    """Text by path in the project: every row of validation, and one line of privacy per site."""
    tables = table_for_terminal(outcome.results)
    [privacy] = [table for table in tables if table.title == PRIVACY]
    lines = [
        "# The demo's outcome",
        "",
        "Written by `make figures`; nothing here is typed by hand.",
        "",
        *_as_markdown(_without_release(tables[0])),
        "",
        *_as_markdown(privacy),
        "",
        _demo_caption(outcome),
    ]
    return {"docs/demo-readme.md": "\n".join([*lines, ""])}


def demo_block(outcome: DemoOutcome) -> str:
    """The README's rows of a demo: of each kind of validation the pooled one, or the only one."""
    table = table_for_terminal(outcome.results)[0]
    shown = [main_row(outcome.results, kind) for kind in _KINDS]
    rows = zip(outcome.results.validation, table.rows, strict=True)
    chosen = tuple(text for row, text in rows if any(row is main for main in shown))
    pooled = TerminalTable(title=table.title, columns=table.columns, rows=chosen)
    return "\n".join([*_as_markdown(_without_release(pooled)), "", _demo_caption(outcome), ""])


def figures_block(figures: Figures) -> str:
    """The README's plot, and what it is of."""
    return (
        f"![R² against ε: all patients in one place, federated, the smallest hospital alone]"
        f"(docs/pictures/epsilon.svg)\n\n{_at_epsilon_1(figures)}\n\n"
        f"{HEAD_WORDS[_HEAD].capitalize()}. {_caption(figures)}\n"
    )


def _at_epsilon_1(figures: Figures) -> str:
    """The plot's numbers where privacy is strictest: R² of fresh internal patients by arm."""
    r2 = {row.arm: row.internal.r2 for row in figures.rows if (row.head, row.epsilon) == (_HEAD, 1.0)}
    told = ", ".join(f"{words} {_cell(r2[arm])}" for arm, words, *_ in ARMS)
    return f"R² at ε = 1: {told}."


def _demo_caption(outcome: DemoOutcome) -> str:
    table = table_for_terminal(outcome.results)[0]
    return (
        f"{table.title}; validation tables: {table.rows[0][-1]}. "
        f"{outcome.seconds:.0f} s on the machine that wrote this."
    )


def _without_release(table: TerminalTable) -> TerminalTable:
    """Without its last column, which is the same in every row."""
    return TerminalTable(
        title=table.title, columns=table.columns[:-1], rows=tuple(row[:-1] for row in table.rows)
    )


def _as_markdown(table: TerminalTable) -> list[str]:
    return [
        "| " + " | ".join(table.columns) + " |",
        "|" + "---|" * len(table.columns),
        *("| " + " | ".join(row) + " |" for row in table.rows),
    ]


def _write(root: Path, pages: Mapping[str, str]) -> dict[str, Path]:
    for name, text in pages.items():
        write_atomic(root / name, text.encode())
    return {Path(name).name: root / name for name in pages}


def _fill(root: Path, name: str, block: str) -> dict[str, Path]:
    """Put a generated block between its markers in the README."""
    readme = root / "README.md"
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = readme.read_text().partition(opening)
    _, _, after = rest.partition(closing)
    write_atomic(readme, f"{before}{opening}\n{block}{closing}{after}".encode())
    return {"README.md": readme}


def _utility_rows(figures: Figures) -> list[str]:
    """One line per head and arm that was trained at every ε."""
    found: dict[tuple[str, str], dict[float | None, str]] = {}
    for row in figures.rows:
        own = found.setdefault((row.head, row.arm), {})
        own[row.epsilon] = f"{row.internal.r2[0]:.3f} (AUC {row.internal.auc[0]:.3f})"
    return [
        f"| {head} | {arm} | " + " | ".join(own[epsilon] for epsilon in (None, 8.0, 3.0, 1.0)) + " |"
        for (head, arm), own in found.items()
        if len(own) == 4
    ]


def _full_page(figures: Figures) -> str:
    lines = [
        "# Figures",
        "",
        "Written by `make figures`; nothing here is typed by hand.",
        "",
        _caption(figures),
        "",
        "“No hospital training” is the head as it starts: it predicts the public mean. The encoder "
        "was pretrained on public synthetic films to tell cortical thickness, trabecular share and "
        "texture, never BMD.",
        "",
        "| head | arm | ε | R² int | MAE int | AUC int | R² ext | MAE ext | AUC ext | R² int by seed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.head} | {row.arm} | {_epsilon(row)} | {_figure(row.internal)} | "
        f"{_figure(row.external)} | {', '.join(f'{value:.3f}' for value in row.seeds_r2)} |"
        for row in figures.rows
    ]
    lines += ["", "## Utility against ε: R² internal, alone, federated and pooled", ""]
    lines += ["| head | arm | off | ε 8 | ε 3 | ε 1 |", "|---|---|---|---|---|---|"]
    lines += _utility_rows(figures)
    lines += ["", "## Federated under privacy as a share of federated without", ""]
    lines += ["| head | ε 8 | ε 3 | ε 1 |", "|---|---|---|---|"]
    lines += [
        f"| {head} | " + " | ".join(f"{100 * share:.1f} %" for share in shares.values()) + " |"
        for head, shares in shares_of_non_private(figures).items()
    ]
    lines += ["", "## Federated minus the smallest site alone, both at ε = 1, R² internal", ""]
    lines += ["| head | difference, paired 95 % interval |", "|---|---|"]
    lines += [
        f"| {head} | {_cell(difference)} |"
        for head, difference in figures.federated_minus_smallest_alone.items()
    ]
    lines += ["", "## Attainable R² of the generator (perfect knowledge of the predictors)", ""]
    lines += ["| site | bone and clinical | bone alone | clinical alone |", "|---|---|---|---|"]
    lines += [
        f"| {site} | {ceiling['r2']:.3f} | {ceiling['image_r2']:.3f} | {ceiling['clinical_r2']:.3f} |"
        for site, ceiling in figures.ceilings.items()
    ]
    points = ", ".join(f"{point:.3f}" for point in figures.operating_points)
    lines += ["", "## Operating points", ""]
    lines += [
        f"On a public population, {points}: the outputs of the cross-attention model under ε = 3 at or "
        "below which 85 % of the patients at or below each cut of the label fall, severest first."
    ]
    return "\n".join([*lines, ""])


def shares_of_non_private(figures: Figures) -> Mapping[str, Mapping[float, float]]:
    """R² of federated under ε over R² of federated without privacy, by head and ε."""
    federated = {
        (row.head, row.epsilon): row.internal.r2[0] for row in figures.rows if row.arm == "federated"
    }
    heads = dict.fromkeys(head for head, _ in federated)
    return {
        head: {
            epsilon: value / federated[head, None]
            for (owner, epsilon), value in federated.items()
            if owner == head and epsilon is not None
        }
        for head in heads
    }


def _caption(figures: Figures) -> str:
    return (
        f"Synthetic hospitals; 112, 225 and 450 training patients; median of training seeds "
        f"{', '.join(map(str, figures.seeds))}; {figures.n_internal} fresh internal and "
        f"{figures.n_external} fresh external patients, 95 % bootstrap (R²) and DeLong (AUC) "
        f"intervals; ε at δ = 1e-5, unit patient, add/remove, exact Gaussian; AUC for T ≤ −2.5."
    )


def _epsilon(row: Row) -> str:
    if row.epsilon is not None:
        return f"{row.epsilon:g}"
    return "0" if row.arm == "no hospital training" else "none promised"


def _figure(figure: Figure) -> str:
    return f"{_cell(figure.r2)} | {figure.mae:.4f} | {_cell(figure.auc)}"


def _cell(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})"
