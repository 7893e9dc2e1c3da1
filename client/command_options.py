"""Options that several commands of ``osteofed-site`` share. Imports typer only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[
    Path, typer.Option("--folder", "-f", envvar="OSTEOFED_SITE", help="The site's folder.")
]
By = Annotated[str, typer.Option("--by", help="First and last name of who decides.")]
Yes = Annotated[
    bool, typer.Option("--yes", help="Confirm here, where nobody can be asked at the terminal.")
]
