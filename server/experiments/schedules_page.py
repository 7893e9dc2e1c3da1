"""Writes the measured schedules as a page: no figure in it is typed by hand. Takes figures as data."""

from __future__ import annotations

from collections.abc import Sequence

from server.federation.measured import MeasuredSchedule, MeasuredSchedules
from shared.contract.schedules import STANDARD

# Between them stands what another page quotes.
QUOTE_BEGINS, QUOTE_ENDS = "<!-- written by make schedules -->", "<!-- end of what is written -->"


def schedules_page(measured: MeasuredSchedules) -> str:
    """``docs/schedules.md``: each place in short, then every figure with its row."""
    seeds = ", ".join(str(seed) for seed in measured.seeds)
    lines = [
        "# Schedules",
        "",
        "Written by `make schedules`; nothing here is typed by hand. The same figures are data in "
        "`configs/schedules.json`, from which a plan says what it expects.",
        "",
        "R² of BMD on synthetic films, median of training populations "
        f"{seeds}, read on {measured.n_evaluated} fresh patients of the training sites; ε of a patient "
        "(add/remove) at δ = 1e-5, exact Gaussian accounting, each site its own noise. In brackets: "
        f"messages of a site, and the share of what schedule `{STANDARD}` reaches. "
        f"{measured.measured_utc[:10]}.",
    ]
    for declared in dict.fromkeys(row.declared for row in measured.rows):
        lines += ["", f"## {_place(declared)}", "", *_in_short(measured.rows, declared)]
    lines += ["", "## Every figure", "", *_in_full(measured.rows), ""]
    return "\n".join(lines)


def quote_schedules(page: str, measured: MeasuredSchedules) -> str:
    """A page with what each schedule keeps between its two marks, for each place; the rest as it is.

    Raises:
        ValueError: the page has not both marks once.
    """
    if page.count(QUOTE_BEGINS) != 1 or page.count(QUOTE_ENDS) != 1:
        raise ValueError(f"the page must have {QUOTE_BEGINS} and {QUOTE_ENDS} once each")
    before, rest = page.split(QUOTE_BEGINS)
    _, after = rest.split(QUOTE_ENDS)
    epsilons = list(dict.fromkeys(row.epsilon for row in measured.rows))
    lines = [
        f"Share of the R² of `{STANDARD}` that is kept at ε {_listed(epsilons)}, on synthetic films:"
    ]
    for declared in dict.fromkeys(row.declared for row in measured.rows):
        lines += ["", f"{_place(declared)}:", "", *_kept(measured.rows, declared)]
    return "\n".join([f"{before}{QUOTE_BEGINS}", *lines, f"{QUOTE_ENDS}{after}"])


def _kept(rows: Sequence[MeasuredSchedule], declared: tuple[int, ...]) -> list[str]:
    """Schedule by head: messages, and the shares of the standard R² by ε."""
    heads = list(dict.fromkeys(row.fusion.name for row in rows if row.declared == declared))
    rounds: dict[str, set[int]] = {}
    shares: dict[tuple[str, str], list[str]] = {}
    for row, share in zip(rows, shares_of_standard(rows), strict=True):
        if row.declared == declared:
            rounds.setdefault(row.schedule, set()).add(row.row.rounds)
            text = "–" if share is None else f"{100 * share:.0f}"
            shares.setdefault((row.schedule, row.fusion.name), []).append(text)
    table = [
        f"| `schedule=` | messages of a site | {' | '.join(heads)} |",
        "|---|---|" + "---|" * len(heads),
    ]
    for schedule, found in rounds.items():
        low, high = min(found), max(found)
        cells = (f"{_listed(shares.get((schedule, head), ['–']))} %" for head in heads)
        messages = str(low) if low == high else f"{low} to {high}"
        table.append(f"| `{schedule}` | {messages} | {' | '.join(cells)} |")
    return table


def _listed(values: Sequence[float | str]) -> str:
    return ", ".join(each if isinstance(each, str) else f"{each:g}" for each in values)


def shares_of_standard(rows: Sequence[MeasuredSchedule]) -> list[float | None]:
    """Each row's R² over that of its standard schedule; None where that is none or not above 0."""
    standard = {_cell(row): row.typical_r2 for row in rows if row.schedule == STANDARD}
    return [
        row.typical_r2 / usual if (usual := standard.get(_cell(row), 0.0)) > 0 else None for row in rows
    ]


def _cell(row: MeasuredSchedule) -> tuple[str, tuple[int, ...], float]:
    """What rows of different schedules have in common."""
    return row.fusion.name, row.declared, row.epsilon


def _place(declared: Sequence[int]) -> str:
    if len(declared) == 1:
        return f"One site of {declared[0]} training patients"
    return f"{len(declared)} sites of {', '.join(str(n) for n in declared)} training patients"


def _in_short(rows: Sequence[MeasuredSchedule], declared: tuple[int, ...]) -> list[str]:
    """Head and schedule by ε."""
    epsilons = list(dict.fromkeys(row.epsilon for row in rows))
    found: dict[tuple[str, str], dict[float, str]] = {}
    for row, share in zip(rows, shares_of_standard(rows), strict=True):
        if row.declared == declared:
            kept = "" if share is None else f"; {100 * share:.0f} %"
            text = f"{row.typical_r2:.3f} ({row.row.rounds}{kept})"
            found.setdefault((row.fusion.name, row.schedule), {})[row.epsilon] = text
    return [
        "| head | schedule | " + " | ".join(f"ε {epsilon:g}" for epsilon in epsilons) + " |",
        "|---|---|" + "---|" * len(epsilons),
        *(
            f"| {head} | {schedule} | " + " | ".join(cells.get(each, "–") for each in epsilons) + " |"
            for (head, schedule), cells in found.items()
        ),
    ]


def _in_full(rows: Sequence[MeasuredSchedule]) -> list[str]:
    return [
        "| training patients | head | schedule | ε | signal | messages × steps | learning rate | "
        "folded at | R² by population |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {' + '.join(str(n) for n in row.declared)} | {row.fusion.name} | {row.schedule} | "
            f"{row.epsilon:g} | {row.signal:.0f} | {row.row.rounds} × {row.row.local_steps} | "
            f"{row.row.learning_rate:g} | {row.row.fold} | {', '.join(f'{r2:.3f}' for r2 in row.r2)} |"
            for row in rows
        ),
    ]
