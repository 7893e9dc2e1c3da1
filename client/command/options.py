"""Options and questions that several commands share. Imports typer, terminal and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared.errors import PolicyError
from shared.machine.terminal import printable

Folder = Annotated[
    Path, typer.Option("--folder", "-f", envvar="OSTEOFED_SITE", help="The site's folder.")
]
By = Annotated[str, typer.Option("--by", help="First and last name of the person who decides.")]
CoordinatorKey = Annotated[
    str | None,
    typer.Option(
        "--coordinator",
        help="Public key that must have signed the release; needed where no federation was joined.",
    ),
]
Code = Annotated[
    str | None,
    typer.Option(
        "--code",
        help="Short code of what is approved, as `plan` shows it and the coordinator tells it; asked "
        "for at the terminal where it is left out.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Confirm here, where nobody can be asked at the terminal.")
]


def require_yes(question: str, *, is_given: bool) -> None:
    """Go on only after an explicit yes, by option or at the terminal; anything else is a no.

    Raises:
        PolicyError: there was none.
    """
    try:
        is_sure = is_given or typer.confirm(printable(question), default=False, err=True)
    except typer.Abort:  # nobody to ask
        is_sure = False
    if not is_sure:
        raise PolicyError(
            "not-confirmed", "nothing was done: nobody confirmed it", hint="answer y, or add --yes"
        )


def require_code(question: str, *, code: str, given: str | None) -> None:
    """Go on only after the short code of what was shown is given, by option or at the terminal.

    A yes is typed without reading; a code names what was read.

    Raises:
        PolicyError: none was given, or another.
    """
    try:
        typed = given or typer.prompt(
            printable(f"{question} Type its short code"), default="", show_default=False, err=True
        )
    except typer.Abort:  # nobody to ask
        typed = ""
    if not typed:
        raise PolicyError(
            "not-confirmed",
            "nothing was done: nobody confirmed it",
            hint="type the short code that is shown, or add --code CODE",
        )
    if typed.strip().lower() != code:
        raise PolicyError(
            "other-code",
            "nothing was done: this is not the short code of what was shown",
            hint="compare it with what the coordinator tells over another channel",
        )
