"""Writes measured figures, and a demo's outcome, into the README: no figure in it is typed by hand.

Takes figures as data. Imports files and the report's tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from server.report.terminal import PRIVACY, table_for_terminal
from shared.machine.files import PROJECT, write_atomic

if TYPE_CHECKING:
    from server.experiments.figure import Figure, Figures, Row
    from server.report.results import Results

_HEAD_WORDS = {
    "cross_attention": "three-layer cross-attention",
    "concatenation": "concatenation",
    "linear": "linear",
}
# Arms of the README, each with the ε it is shown at; None for all of them.
_SHOWN: dict[str, tuple[float | None, ...] | None] = {
    "no hospital training": None,
    "pooled": (None,),
    "federated": None,
    "aster alone": (None, 1.0),
}


def write_page(figures: Figures, *, root: Path = PROJECT) -> dict[str, Path]:
    """Write ``docs/figures.md`` with every arm, and the short table into the README."""
    full = root / "docs" / "figures.md"
    write_atomic(full, _full_page(figures).encode())
    return {"figures.md": full, "README.md": _fill(root, "figures", _short_table(figures))}


def write_demo(results: Results, seconds: float, *, root: Path = PROJECT) -> Path:
    """Write what a demo printed into the README: validation, and one line of privacy per site."""
    tables = table_for_terminal(results)
    validation = tables[0]
    [privacy] = [table for table in tables if table.title == PRIVACY]
    columns = tuple(column for column in validation.columns if column != "release")
    rows = [row[: len(columns)] for row in validation.rows]
    lines = [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        "| " + " | ".join(privacy.columns) + " |",
        "|" + "---|" * len(privacy.columns),
        *("| " + " | ".join(row) + " |" for row in privacy.rows),
        "",
        f"{validation.title}; validation tables: {validation.rows[0][-1]}. "
        f"{seconds:.0f} s on the machine that wrote this.",
        "",
    ]
    return _fill(root, "demo", "\n".join(lines))


def _fill(root: Path, name: str, block: str) -> Path:
    """Put a generated block between its markers in the README, and beside it for the test."""
    readme = root / "README.md"
    write_atomic(root / "docs" / f"{name}-readme.md", block.encode())
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = readme.read_text().partition(opening)
    _, _, after = rest.partition(closing)
    write_atomic(readme, f"{before}{opening}\n{block}{closing}{after}".encode())
    return readme


def _short_table(figures: Figures) -> str:
    lines = [
        "| head | arm | ε | R² internal | R² external | AUC internal | AUC external |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in figures.rows:
        shown = _SHOWN.get(row.arm, ())
        if shown is None or row.epsilon in shown:
            lines.append(
                f"| {_HEAD_WORDS[row.head]} | {row.arm} | {_epsilon(row)} | "
                f"{_cell(row.internal.r2)} | {_cell(row.external.r2)} | "
                f"{_cell(row.internal.auc)} | {_cell(row.external.auc)} |"
            )
    return "\n".join([*lines, "", _caption(figures), ""])


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
