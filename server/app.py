"""The ServerApp, one for every engine: opens a run folder and plays one stage of it.

``run-folder`` and ``stage`` come from Flower's run configuration. What stopped a stage is written to
``outcome-STAGE.json`` in the run folder, since Flower's own logs are not for people.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.rounds.exchange import Exchange
from server.rounds.loop import run_stage
from server.run.folder import Event, RunStore, open_run
from server.run.holder import held
from shared.errors import OsteoFedError
from shared.machine.files import write_atomic
from shared.machine.processes import end_with_parent
from shared.machine.unexpected import unexpected
from shared.signing.keys import load_key

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Play the stage that the run configuration names.

    Raises:
        OsteoFedError: what stopped it; the stage can be started again.
    """
    store = open_run(Path(str(context.run_config["run-folder"])))
    stage = str(context.run_config.get("stage", "train"))
    if store.plan.settings.engine.name == "deployed":
        # One that Flower's executor has left would hold the run: Flower interrupts it, and waits in the
        # handler until the SuperLink answers.
        end_with_parent(os.getppid())
    with held(store, "stage", what=f"stage {stage}"):  # a second one leaves the outcome of the first
        try:
            play(grid, store, stage)
        except SystemExit:
            raise  # Flower ends it so when its executor is gone; the command sees that nobody has it
        except BaseException as error:  # whatever it is: it did not come to its end
            _write_outcome(store, stage, unexpected(error))
            raise
        _write_outcome(store, stage, None)


def _write_outcome(store: RunStore, stage: str, stopped_by: OsteoFedError | None) -> None:
    outcome = {
        "stage": stage,
        "status": "stopped" if stopped_by else "finished",
        "code": stopped_by.code if stopped_by else "",
        "fact": stopped_by.fact if stopped_by else "",
        "hint": stopped_by.hint if stopped_by else "",
    }
    write_atomic(store.folder / f"outcome-{stage}.json", json.dumps(outcome, indent=1).encode())


def play(grid: Grid, store: RunStore, stage: str) -> None:
    """Play one of the plan's stages."""

    def log(site: str, code: str) -> None:
        number = store.training.last_committed().round if store.plan.trained else 0
        store.log(Event(round=number, site=site, code=code))

    exchange = Exchange(grid, store.plan, log=log)
    run_stage(exchange, store, stage, key=load_key(store.home / "keys" / "coordinator.pem"))
