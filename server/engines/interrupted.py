"""What Ctrl-C leaves behind where a SuperLink plays: the run goes on, unless the operator stops it.

Imports the run store and terminal.
"""

from __future__ import annotations

from server.run.folder import RunStore
from shared.contract.stages import TrainingStage
from shared.machine.terminal import confirmed, say


def ask_to_stop(store: RunStore, stage: str) -> None:
    """Tell that a stage is played on, and ask whether it is to stop before its next round.

    Without a terminal, or after another Ctrl-C, it is left running. A stage that measures has no next
    round: whoever was asked answers.
    """
    run = store.plan.run
    say(f"the server plays {stage} of run {run} on without this command")
    if not isinstance(store.plan.stage(stage), TrainingStage):
        say(f"it is left running: `osteofed-coordinator validate {run} {stage}` takes what it has")
        return
    if confirmed("Stop it before its next round? Else it is left running"):
        store.pause()
        say("it stops before its next round, which no site then pays for")
    else:
        say(
            f"it is left running: `osteofed-coordinator pause {run}` stops it before its next round, "
            "which no site then pays for; until it has ended `resume` is refused"
        )
