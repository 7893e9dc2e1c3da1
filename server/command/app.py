"""The coordinator's command, ``osteofed-coordinator``: plan, launch, validate, lock, report.

Importing it loads neither torch nor flwr, so that ``--help`` is quick.
"""

from __future__ import annotations

import typer

from server.command.federation import federation_app
from server.command.runs import runs_app
from server.command.simulate import simulate_app
from server.command.sweep import sweep_app
from server.command.validation import validation_app
from server.command.workshop import workshop_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables
    help="Plans and runs a federation of hospitals. Sees weights and noised tables, never patients.",
)
app.add_typer(federation_app)
app.add_typer(runs_app)
app.add_typer(validation_app)
app.add_typer(sweep_app, name="sweep")
app.add_typer(simulate_app)
app.add_typer(workshop_app)
