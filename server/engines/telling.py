"""Tells a run's events as they come, while its engine plays a stage: rounds, and refusals by name.

Imports the run's folder.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from server.run.events import EVENTS, PROGRESS
from server.run.folder import Event, RunStore
from shared.contract.stages import Stage
from shared.machine.terminal import say

_LOOK_EVERY_S = 0.5


@contextmanager
def told_events(store: RunStore, stage: Stage) -> Iterator[None]:
    """Say what is appended to the events log inside the block."""
    seen = len(store.events())
    is_over = threading.Event()

    def tell_new() -> None:
        nonlocal seen
        new = store.events()[seen:]
        seen += len(new)
        for event in new:
            say(f"  {in_words(event, stage)}")

    def tell_until_over() -> None:
        while not is_over.wait(_LOOK_EVERY_S):
            tell_new()

    teller = threading.Thread(target=tell_until_over, daemon=True)
    teller.start()
    try:
        yield
    finally:
        is_over.set()
        teller.join()
        tell_new()


def in_words(event: Event, stage: Stage) -> str:
    """An event as a line for people."""
    if event.code == "round-committed":
        return f"round {event.round} of {stage.rounds} committed"
    words = [event.site, f"round {event.round}" if event.round else ""]
    if event.code not in PROGRESS:
        words.append(event.code)  # of an error: docs/reference/codes.md says what it means
    if event.code in EVENTS:
        words.append(EVENTS[event.code].fact)
    return ": ".join(word for word in words if word)
