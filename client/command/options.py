"""Options and the question "are you sure?" that several commands share. Imports typer and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared.errors import PolicyError

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
Yes = Annotated[
    bool, typer.Option("--yes", help="Confirm here, where nobody can be asked at the terminal.")
]


def require_yes(question: str, *, is_given: bool) -> None:
    """Go on only after an explicit yes, by option or at the terminal; anything else is a no.

    Raises:
        PolicyError: there was none.
    """
    try:
        is_sure = is_given or typer.confirm(question, default=False, err=True)
    except typer.Abort:  # nobody to ask
        is_sure = False
    if not is_sure:
        raise PolicyError(
            "not-confirmed", "nothing was done: nobody confirmed it", hint="answer y, or add --yes"
        )
