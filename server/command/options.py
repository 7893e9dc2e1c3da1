"""Options that several commands of the coordinator share."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

HOME = Path("coordinator")
HomeOption = Annotated[
    Path, typer.Option("--home", envvar="OSTEOFED_COORDINATOR", help="The coordinator's folder.")
]
Run = Annotated[str, typer.Argument(help="Name of the run.")]
Sites = Annotated[
    list[Path] | None, typer.Option("--site", help="A site's folder on this machine; repeat it.")
]
CohortOption = Annotated[
    str | None,
    typer.Option("--cohort", help="Cohort schema: a YAML file anywhere, or the name of a shipped one."),
]
ConfigsOption = Annotated[
    Path | None,
    typer.Option(
        "--configs",
        help="A folder with options of your own, GROUP/NAME.yaml, chosen as the shipped ones.",
        exists=True,
        file_okay=False,
    ),
]
ValidUntil = Annotated[
    datetime | None,
    typer.Option(
        "--valid-until",
        formats=["%Y-%m-%d"],
        help="Last day (UTC) on which hospitals may approve and answer; by default a year from now.",
    ),
]
Role = Literal["training", "external"]

_VALID_FOR = timedelta(days=365)


def last_day(given: datetime | None) -> date:
    """The last day of a plan: the one that was given, or a year from now."""
    return (given or datetime.now(UTC) + _VALID_FOR).date()
