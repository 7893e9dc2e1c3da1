"""Lays out a run's folder on first use: the signed plan's initial weights and encoder, checked.

Imports the model, to draw the initial weights from the plan's seed, where it is needed.
"""

from __future__ import annotations

from server.encoders.file import encoder_file
from server.federation.folder import Home
from server.run.folder import RunStore, open_run, prepare_run
from shared.contract.plan import read_plan


def prepare(home: Home, run: str) -> RunStore:
    """A run's store, its folder laid out on first use from the signed plan.

    Raises:
        RunError: there is no such run, or its encoder file is not the plan's.
    """
    from shared.stages.kinds import sum_of

    folder = home.planned_run(run)
    if (folder / "run.json").exists():
        return open_run(folder)
    plan = read_plan(folder / "plan.json", coordinator_key=home.key().public_hex)
    file = encoder_file(plan.settings.encoder)
    first = [] if plan.trained is None else [sum_of(plan, plan.trained, encoder_file=file).start()]
    return prepare_run(folder, initial_state=first[0].vector if first else None, encoder=file)
