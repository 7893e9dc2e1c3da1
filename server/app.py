"""The ServerApp, one for every engine: opens a run folder and plays one stage of it.

``run-folder`` and ``stage`` come from Flower's run configuration. What stopped a stage is written to
``outcome-STAGE.json`` in the run folder, since Flower's own logs are not for people.
"""

from __future__ import annotations

import json
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.rounds.evaluation import Kind, run_evaluation
from server.rounds.exchange import Exchange
from server.rounds.loop import run_rounds
from server.run.folder import Event, RunStore, open_run
from shared.errors import OsteoFedError, RunError
from shared.machine.files import write_atomic
from shared.signing.keys import load_key

EVALUATIONS: dict[str, Kind] = {
    "internal": "internal",
    "external": "external",
    "prospective": "prospective",
    "description": "description",
}

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Play the stage that the run configuration names.

    Raises:
        OsteoFedError: what stopped it; the stage can be started again.
    """
    store = open_run(Path(str(context.run_config["run-folder"])))
    stage = str(context.run_config.get("stage", "train"))
    outcome = {"stage": stage, "status": "finished", "code": "", "fact": "", "hint": ""}
    try:
        play(grid, store, stage)
    except OsteoFedError as error:
        outcome |= {
            "status": "stopped",
            "code": error.code,
            "fact": error.fact,
            "hint": error.hint,
        }
        raise
    finally:
        write_atomic(store.folder / f"outcome-{stage}.json", json.dumps(outcome, indent=1).encode())


def play(grid: Grid, store: RunStore, stage: str) -> None:
    """Train, validate a release, or describe the patients."""

    def log(site: str, code: str) -> None:
        store.log(Event(round=store.last_committed().round, site=site, code=code))

    exchange = Exchange(grid, store.plan, log=log)
    key = load_key(store.home / "keys" / "coordinator.pem")
    if stage == "train":
        run_rounds(exchange, store, key=key)
    elif stage in EVALUATIONS:
        run_evaluation(exchange, store, EVALUATIONS[stage], key=key)
    else:
        raise RunError("unknown-stage", f"stage must be train or one of {list(EVALUATIONS)}")
