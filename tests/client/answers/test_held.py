"""An answer leaves at a whole multiple of the plan's quantum after its request, whatever it took."""

from __future__ import annotations

import pytest
from flwr.app import Message
from table_site import TableSites

import client.app
from client.answers.held import hold, quantum_of
from server.engines.local import LocalGrid
from shared.contract.protocol import Hello, Refusal, SumReply, from_record, to_record


class Clock:
    """Seconds that pass by waiting only."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@pytest.mark.parametrize(
    ("took", "leaves_after"),
    [(0.0, 60.0), (0.01, 60.0), (59.9, 60.0), (60.0, 60.0), (60.1, 120.0), (179.0, 180.0)],
)
def test_an_answer_waits_for_the_next_multiple_and_a_late_one_for_the_one_after(
    took: float, leaves_after: float
) -> None:
    clock = Clock(1234.5 + took)
    hold(1234.5, 60.0, clock=clock, wait=clock.wait)
    assert clock.now - 1234.5 == pytest.approx(leaves_after, abs=1e-9)


def test_rounding_never_makes_a_wait_negative() -> None:
    for step in range(1, 400):
        passed, quantum = step * 0.1 + 1e-17, 0.1
        clock = Clock(passed)
        hold(0.0, quantum, clock=clock, wait=clock.wait)
        hold(0.0, quantum, clock=lambda at=3 * quantum: at, wait=clock.wait)  # type: ignore[misc]


def test_without_a_quantum_nothing_waits() -> None:
    clock = Clock(7.0)
    hold(3.0, 0.0, clock=clock, wait=lambda _: pytest.fail("it waited"))
    assert clock.now == 7.0


def test_the_quantum_is_that_of_the_approved_plan_and_none_of_a_plan_that_nobody_approved(
    made: TableSites,
) -> None:
    assert quantum_of(made.site(), "a" * 64) == 0.0
    assert quantum_of(made.site(), made.plan_sha256) == 0.0
    assert made.plan.settings.patience.reply_quantum_s == 0.0


def test_sums_and_their_refusals_are_held_and_what_looks_at_nobody_is_not(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[float] = []
    monkeypatch.setattr(client.app, "quantum_of", lambda *_: 60.0)
    monkeypatch.setattr(client.app, "hold", lambda began, quantum: held.append(quantum))

    def send(request: object, kind: str) -> Message:
        grid = LocalGrid(client.app.app, {"elm": sites.folder / "sites" / "elm"})
        message = grid.create_message(to_record(request), kind, 2, "test", 60.0)  # type: ignore[arg-type]
        [reply] = grid.send_and_receive([message])
        return reply

    assert from_record(send(sites.train_request(), "train").content, SumReply).site == "elm"
    assert from_record(send(sites.train_request(round=9), "train").content, Refusal).code
    send(Hello(plan_sha256=sites.plan_sha256, nonce="n" * 32), "query.hello")
    assert held == [60.0, 60.0, 0.0]
