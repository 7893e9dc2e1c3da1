"""A site's statement against what the coordinator holds: its epsilon, and how far its ledger goes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import practice_federation as practice
import pytest

from server.run import statements
from server.run.folder import RunStore
from shared.privacy.accountant import gaussian_epsilon
from shared.privacy.events import GaussianEvent
from shared.signing.countersign import countersign
from shared.signing.keys import load_key


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return practice.found_federation(tmp_path, n_sites=1)[0]


@pytest.mark.parametrize(
    ("head_index", "problems"), [(3, ["its ledger is behind the countersigned head"]), (4, []), (9, [])]
)
def test_a_ledger_that_ends_before_its_countersigned_head_is_a_problem(
    store: RunStore, head_index: int, problems: list[str]
) -> None:
    key, head = load_key(store.home / "keys" / "coordinator.pem"), "a" * 64
    seen = SimpleNamespace(
        index=4,
        head_sha256=head,
        plan_sha256=store.plan.sha256,
        coordinator_key=key.public_hex,
        signature=countersign(key, site="site-0", plan_sha256=store.plan.sha256, ledger_head=head),
    )
    ledger = SimpleNamespace(countersigned=seen, head_index=head_index)
    statement = SimpleNamespace(predicate=SimpleNamespace(site="site-0", ledger=ledger))
    assert statements._head_problems(store.plan, statement) == problems


def test_an_epsilon_below_what_the_held_updates_cost_is_a_problem(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "event_of", lambda *_: GaussianEvent(noise_multiplier=4.0))
    monkeypatch.setattr(statements, "payload_sha256", lambda _: "a" * 64)
    reply = SimpleNamespace(status="measured", release_class="dp")
    held = SimpleNamespace(replies={("train", 1): reply, ("train", 2): reply})
    least = gaussian_epsilon(2**0.5 / 4.0, store.plan.predicted.delta)

    def problems_of(epsilon: float | None) -> list[str]:
        cost = SimpleNamespace(training_epsilon=epsilon, n_unprotected=0)
        statement = SimpleNamespace(predicate=SimpleNamespace(cost=cost))
        return statements._cost_problems(store.plan, statement, held)

    assert problems_of(least) == problems_of(least + 1.0) == []  # more may have been charged
    for too_small in (least - 0.01, 0.0, None):
        [problem] = problems_of(too_small)
        assert problem == f"training epsilon {too_small}, the updates held here cost {least:.3f}"
