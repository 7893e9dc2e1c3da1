"""What a row does, one step after another: type a command, wait for a moment, break something, mend it.

Each step is made by a function here and carried out on a federation; a row is a list of them.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from chaos_federation import RUN, TRAIN, Federation, RowError
from chaos_processes import send

Step = Callable[[Federation], object]


def launch() -> Step:
    """The coordinator launches the run."""
    return lambda it: it.type("launch", RUN)


def resume() -> Step:
    """The coordinator resumes the run."""
    return lambda it: it.type("resume", RUN)


def validate(stage: str = "internal") -> Step:
    """The coordinator asks for a measure of the release."""
    return lambda it: it.type("validate", RUN, stage)


def ends() -> Step:
    """The command that was typed comes to its end by itself."""
    return lambda it: it.wait()


def ctrl_c() -> Step:
    """The operator ends the command that was typed."""
    return lambda it: it.wait(ctrl_c=True)


def committed(number: int) -> Step:
    """Wait until a round is committed."""
    return lambda it: it.until(
        f"round {number}", lambda now: now.store.training.round_folder(number).exists()
    )


def charged(site: str, number: int, stage: str = TRAIN) -> Step:
    """Wait until a site has paid for a round, and is at work on it."""
    return lambda it: it.until(
        f"{site}'s charge of round {number}", lambda now: now.is_charged(site, number, stage)
    )


def answered(site: str, number: int, stage: str = TRAIN) -> Step:
    """Wait until what a site has paid for lies ready."""
    return lambda it: it.until(
        f"{site}'s answer of round {number}", lambda now: now.is_answered(site, number, stage)
    )


def event(code: str) -> Step:
    """Wait until the run's events tell a code."""
    return lambda it: it.until(
        f"event {code}", lambda now: any(each.code == code for each in now.store.events())
    )


def seconds(n: float) -> Step:
    """Let time pass."""
    return lambda _: time.sleep(n)


def kill(part: str, site: str = "") -> Step:
    """SIGKILL to the processes of a part."""
    return _signal(signal.SIGKILL, part, site)


def freeze(part: str, site: str = "") -> Step:
    """SIGSTOP: they are there and do nothing."""
    return _signal(signal.SIGSTOP, part, site)


def thaw(part: str, site: str = "") -> Step:
    """SIGCONT."""
    return _signal(signal.SIGCONT, part, site)


def _signal(number: signal.Signals, part: str, site: str) -> Step:
    def step(it: Federation) -> None:
        found = it.part(part, site)
        if not found:
            raise RowError(f"no process of {part} {site} is there")
        send(number, found)

    return step


def unanswered(site: str, number: int, stage: str = TRAIN) -> Step:
    """The fault has hit a site between its charge and its answer, or the row shows nothing."""

    def step(it: Federation) -> None:
        if it.is_answered(site, number, stage):
            raise RowError(f"{site} had answered round {number} before the fault")

    return step


def serve() -> Step:
    """The coordinator's server is started, or started again."""
    return lambda it: it.serve()


def start(*sites: str) -> Step:
    """Sites are started, or started again, by their hospitals."""
    return lambda it: [it.start(site) for site in sites]
