"""The faults, each a row: what is broken and when, and what was expected before it was first played.

Three hospitals of 100 declared patients, three rounds, a quorum of two; ``elm`` and ``hop`` are required
(in the first and the last round), ``fir`` is not. Every row begins with a server and its sites up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chaos_actions import (
    Step,
    answered,
    charged,
    committed,
    ctrl_c,
    ends,
    event,
    freeze,
    kill,
    launch,
    resume,
    seconds,
    serve,
    start,
    thaw,
    unanswered,
    validate,
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault.

    Attributes:
        name: by which it is asked for.
        fault: in words.
        expected: in words.
        steps: that play it.
        ends: how each command must end: a code, or ``finished``.
        missing: rounds in which a site may have, and has, no part.
        unused: training charges of a site that no committed round holds.
        events: codes that the run's events must tell.
        settings: of the plan, other than ``chaos_federation.SETTINGS``.
        is_quick: played in CI.
    """

    name: str
    fault: str
    expected: str
    steps: tuple[Step, ...]
    ends: tuple[str, ...] = ("finished",)
    missing: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unused: Mapping[str, int] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    is_quick: bool = False


UP = (serve(), start("elm", "fir", "hop"))

ROWS: tuple[Row, ...] = (
    Row(
        name="nothing",
        fault="none",
        expected="finished; every site has a part in every round",
        steps=(*UP, launch(), ends()),
        is_quick=True,
    ),
    Row(
        name="supernode-before",
        fault="SIGKILL of a SuperNode before training: once round 1 is committed",
        expected="finished; the site is waited for and has its part in every round",
        steps=(*UP, launch(), committed(1), kill("supernode", "elm"), ends()),
    ),
    Row(
        name="supernode-during",
        fault="SIGKILL of a SuperNode during training: after the charge of round 2, before its answer",
        expected="finished; the same charge pays for another attempt",
        steps=(
            *UP,
            launch(),
            charged("elm", 2),
            kill("supernode", "elm"),
            ends(),
        ),
    ),
    Row(
        name="supernode-after",
        fault="SIGKILL of a SuperNode after training: once the answer of round 2 is stored",
        expected="finished; the stored answer is sent, and nothing is charged again",
        steps=(*UP, launch(), answered("elm", 2), kill("supernode", "elm"), ends()),
    ),
)
