"""What the commands print: data to stdout, progress and errors to stderr, never a traceback.

The one place that imports ``rich``. A command that answers shows tables for
people or, with ``--json``, one JSON value for machines. Imports errors only.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
import traceback
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

TRACEBACK = "OSTEOFED_TRACEBACK"
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
            failure = _unexpected(error)
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


def _unexpected(error: Exception) -> OsteoFedError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OsteoFedError(
            "disk-full",
            "no space is left on the disk, or in this user's quota",
            hint="free some and run the same again: a file is whole or absent, what was read is kept",
        )
    place = traceback.extract_tb(error.__traceback__)[-1]
    return OsteoFedError(
        "internal",
        f"{type(error).__name__} in {os.path.basename(place.filename)}, line {place.lineno}",
        hint=f"{TRACEBACK}=1 shows the whole text; it may name patients, do not pass it on",
    )


def show_error(error: OsteoFedError, *, as_json: bool = False) -> None:
    """Print one expected failure: code, fact, hint."""
    if as_json:
        show_json({"error": error.code, "fact": error.fact, "hint": error.hint})
        return
    _ERR.print(f"[bold red]error[/] {error.code}: {escape(error.fact)}", soft_wrap=True)
    if error.hint:
        _ERR.print(f"\n[bold]hint:[/] {escape(error.hint)}", soft_wrap=True)


def show_json(value: object) -> None:
    """One JSON value on stdout."""
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
    table = Table(title=title, title_justify="left", title_style="bold", header_style="")
    for index, column in enumerate(columns):
        is_number = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row, style in zip_longest(rows, styles):
        table.add_row(*(escape(format_cell(cell)) for cell in row), style=style)
    (_ERR if is_progress else _OUT).print(table)


def show_facts(title: str, facts: Mapping[str, object], *, is_progress: bool = False) -> None:
    """Names and values, one per line, on stdout, or on stderr as a part of progress."""
    console = _ERR if is_progress else _OUT
    if title:
        console.print(f"[bold]{escape(title)}[/]")
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        console.print(f"  {name:<{width}}  {escape(format_cell(value))}", soft_wrap=True)


def say(text: str) -> None:
    """One line of progress, on stderr."""
    _ERR.print(escape(text), soft_wrap=True)


def format_cell(value: object) -> str:
    """A value as people read it: 3 decimals, a dash for nothing."""
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@contextmanager
def progress(label: str) -> Iterator[Advance]:
    """A bar on stderr with the time taken and left; call the yielded function with (done, total)."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=_ERR,
    ) as bar:
        task = bar.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
