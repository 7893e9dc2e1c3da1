"""What the commands print: data to stdout, progress and errors to stderr, never a traceback.

The one place that imports ``rich``, and through which outside text (plans, DICOM words, names of files,
cells, codes) reaches a person: control and format characters are replaced here. A command that answers
shows tables for people or, with ``--json``, one JSON value for machines. Imports errors and what is
said of an unexpected one, and a doctor's line.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Annotated, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from shared.errors import OsteoFedError
from shared.machine.line import Line
from shared.machine.unexpected import TRACEBACK, unexpected

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of tables.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings: group=name or group.key=value, e.g. privacy.epsilon=1."),
]
Advance = Callable[[int, int], None]

# Into a file or a pipe a table is as wide as it needs to be, up to this.
_PIPED_WIDTH = 150
_OUT = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
_ERR = Console(stderr=True, width=None if sys.stderr.isatty() else _PIPED_WIDTH)

# As shells name the end by Ctrl-C: 128 + SIGINT.
_STOPPED = 130
_STYLES = {"problem": "bold red", "attention": "yellow", "not checked": "dim"}

P = ParamSpec("P")
R = TypeVar("R")


def command(work: Callable[P, R]) -> Callable[P, R]:
    """Turn a failure of ``work`` into fact and hint on stderr and exit code 1; Ctrl-C into 130.

    A full disk is said as such. Of an unexpected exception only type and place are shown: its text
    could hold a patient's values.
    """

    @functools.wraps(work)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        except OsteoFedError as error:
            failure = error
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            say("stopped")
            raise typer.Exit(_STOPPED) from None
        except Exception as error:
            if os.environ.get(TRACEBACK):
                raise
            failure = unexpected(error)
        show_error(failure, as_json=bool(kwargs.get("as_json")))
        raise typer.Exit(1)

    return wrapped


def when_stopped(words: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a command say, when Ctrl-C stops it, what is kept and how to go on.

    Args:
        words: one line, with the command's parameters in braces: ``{folder} is kept``.
    """

    def decorate(work: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(work)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return work(*args, **kwargs)
            except KeyboardInterrupt:
                say(f"stopped: {words.format(**kwargs)}")
                raise typer.Exit(_STOPPED) from None

        return wrapped

    return decorate


def show_error(error: OsteoFedError, *, as_json: bool = False) -> None:
    """Print one expected failure: code, fact, hint."""
    if as_json:
        show_json({"error": error.code, "fact": error.fact, "hint": error.hint})
        return
    code, fact, hint = _shown(error.code), _shown(error.fact), _shown(error.hint)
    _ERR.print(f"[bold red]error[/] {code}: {fact}", soft_wrap=True)
    if hint:
        _ERR.print(f"\n[bold]hint:[/] {hint}", soft_wrap=True)


def show_json(value: object) -> None:
    """One JSON value on stdout, of ASCII."""
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")


def show_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    styles: Sequence[str] = (),
    is_progress: bool = False,
) -> None:
    """A table on stdout, or on stderr as a part of progress; numbers are aligned right.

    ``styles``: how each row looks where colours are shown, as rich names them.
    """
    table = Table(title=_shown(title), title_justify="left", title_style="bold", header_style="")
    for index, column in enumerate(columns):
        is_number = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(_shown(column), justify="right" if is_number else "left", overflow="fold")
    for row, style in zip_longest(rows, styles):
        table.add_row(*(escape(printable(format_cell(cell))) for cell in row), style=style)
    (_ERR if is_progress else _OUT).print(table)


def show_lines(title: str, lines: Sequence[Line]) -> None:
    """What a doctor says, on stdout."""
    rows = [(line.state, line.name, line.fact, line.remedy) for line in lines]
    styles = [_STYLES.get(line.state, "") for line in lines]
    show_table(title, ("state", "what", "found", "remedy"), rows, styles=styles)


def show_facts(title: str, facts: Mapping[str, object], *, is_progress: bool = False) -> None:
    """Names and values, one per line, on stdout, or on stderr as a part of progress."""
    console = _ERR if is_progress else _OUT
    if title:
        console.print(f"[bold]{_shown(title)}[/]")
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        shown = _shown(format_cell(value), indent=width + 4)
        console.print(f"  {_shown(f'{name:<{width}}')}  {shown}", soft_wrap=True)


def say(text: str) -> None:
    """One line of progress, on stderr."""
    _ERR.print(_shown(text), soft_wrap=True)


def confirmed(question: str) -> bool:
    """Whether a person at the terminal says yes; where there is none, or at Ctrl-C, it is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    try:
        return typer.confirm(printable(question), default=False, err=True)
    except typer.Abort:
        return False


def show_text(text: str) -> None:
    """A text of several lines on stdout, as it is written."""
    _OUT.print(escape(printable(text)), soft_wrap=True)


def printable(text: str) -> str:
    """A text with every control and format character (Unicode Cc, Cf) replaced, ends of lines apart.

    So is whatever else Python does not print: halves of characters, other ends of lines.

    Example:
        >>> printable("\x1b[2Jhip\u202e")
        '\ufffd[2Jhip\ufffd'
    """
    return "".join(
        char if char.isprintable() or char == "\n" or unicodedata.category(char) == "Zs" else "\ufffd"
        for char in text
    )


def _shown(text: str, *, indent: int = 2) -> str:
    """A text as it may be printed; further lines are set in, so that none looks like one of ours."""
    first, *more = printable(text).split("\n")
    lines = [line if line.startswith(" " * indent) else " " * indent + line for line in more]
    return escape("\n".join([first, *lines]))


def format_cell(value: object) -> str:
    """A value as people read it: 3 decimals, a dash for nothing."""
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@contextmanager
def progress(label: str) -> Iterator[Advance]:
    """A bar on stderr with the time taken and left; call the yielded function with (done, total).

    Of work that is refused or stopped nothing remains of it.
    """
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=_ERR,
    ) as bar:
        task = bar.add_task(_shown(label), total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        try:
            yield advance
        except (Exception, KeyboardInterrupt):
            bar.live.transient = True
            raise
