"""What a table leaves in: noise of the promised size, and a reply without what the gate fills in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from client.answers.table_reply import add_noise, empty_reply, measured_reply
from practice_site import make_plan

from shared.contract.protocol import EvaluateRequest


def request() -> EvaluateRequest:
    return EvaluateRequest(
        plan_sha256="a" * 64,
        kind="internal",
        release_sha256="b" * 64,
        weights=np.zeros(2, dtype="<f4"),
        lock_sha256="",
        ledger_head="",
        countersignature="",
    )


def test_noise_has_the_sensitivity_times_the_multiplier_and_the_table_is_its_mean() -> None:
    table = np.full(40_000, 100.0)
    noisy = add_noise(table, sensitivity=2.0, noise_multiplier=3.0)
    assert noisy.std() == pytest.approx(6.0, rel=0.03)
    assert noisy.mean() == pytest.approx(100.0, abs=0.2)
    assert (table == 100.0).all()


def test_a_reply_answers_its_request_in_the_plans_release_class(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    reply = measured_reply(request(), plan, np.arange(3.0))
    assert (reply.plan_sha256, reply.kind, reply.release_sha256) == (
        plan.sha256,
        "internal",
        "b" * 64,
    )
    assert (reply.status, reply.release_class, reply.table.tolist()) == ("measured", "dp", [0, 1, 2])
    assert (reply.site, reply.ledger_head, reply.signature) == ("", "", "")
    waiting = empty_reply(request(), plan, "waiting")
    assert (waiting.status, waiting.table.size) == ("waiting", 0)
