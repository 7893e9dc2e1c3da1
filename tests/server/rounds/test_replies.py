"""Every way in which an update can be wrong, each signed by its site's true key where that matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest

from server.rounds.replies import RoundCheck, norm_of, refusal_code
from shared.contract.protocol import Refusal, TrainReply, signed_bytes, vector_sha256
from shared.errors import ProtocolError
from shared.signing.keys import SigningKey, load_key

P = 8
LIMIT = 1e5  # the practice plan's bound on an update's norm


@pytest.fixture
def check_and_key(tmp_path: Path) -> tuple[RoundCheck, SigningKey]:
    store, folders = practice.found_federation(tmp_path, n_parameters=P)
    weights = store.committed(0).weights
    check = RoundCheck(plan=store.plan, round=2, weights_sha256=vector_sha256(weights), n_parameters=P)
    return check, load_key(folders["site-0"] / "keys" / "site.pem")


def good(check: RoundCheck) -> TrainReply:
    return TrainReply(
        plan_sha256=check.plan.sha256,
        round=2,
        site="site-0",
        weights_sha256=check.weights_sha256,
        update=np.arange(P, dtype="<f4"),
        ledger_head="a" * 64,
    )


def signed(reply: TrainReply, key: SigningKey) -> TrainReply:
    return replace(reply, signature=key.sign(signed_bytes(reply)))


def with_entry(value: float) -> Callable[[TrainReply], TrainReply]:
    def change(reply: TrainReply) -> TrainReply:
        update = reply.update.copy()
        update[3] = value
        return replace(reply, update=update)

    return change


WRONG: list[tuple[str, Callable[[TrainReply], TrainReply]]] = [
    ("wrong-plan", lambda reply: replace(reply, plan_sha256="0" * 64)),
    ("wrong-round", lambda reply: replace(reply, round=1)),
    ("wrong-round", lambda reply: replace(reply, round=3)),
    ("wrong-site", lambda reply: replace(reply, site="site-1")),
    ("wrong-weights", lambda reply: replace(reply, weights_sha256="0" * 64)),
    ("malformed", lambda reply: replace(reply, ledger_head="Mrs Canary")),
    ("wrong-shape", lambda reply: replace(reply, update=reply.update[1:])),
    ("wrong-shape", lambda reply: replace(reply, update=np.zeros(P + 1, "<f4"))),
    ("wrong-shape", lambda reply: replace(reply, update=np.zeros(0, "<f4"))),
    ("wrong-type", lambda reply: replace(reply, update=reply.update.astype("<f8"))),
    ("wrong-type", lambda reply: replace(reply, update=reply.update.astype("<f2"))),
    ("wrong-type", lambda reply: replace(reply, update=reply.update.astype(">f4"))),
    ("not-finite", with_entry(np.nan)),
    ("not-finite", with_entry(np.inf)),
    ("not-finite", with_entry(-np.inf)),
    ("norm-exceeded", with_entry(1.001 * LIMIT)),
]


@pytest.mark.parametrize(("code", "change"), WRONG)
def test_a_wrong_update_is_refused_with_its_code_even_if_truly_signed(
    check_and_key: tuple[RoundCheck, SigningKey],
    code: str,
    change: Callable[[TrainReply], TrainReply],
) -> None:
    check, key = check_and_key
    with pytest.raises(ProtocolError) as caught:
        check.require(signed(change(good(check)), key), site="site-0")
    assert caught.value.code == f"protocol.{code}"


def test_a_right_update_is_accepted_and_named_by_its_hash(
    check_and_key: tuple[RoundCheck, SigningKey],
) -> None:
    check, key = check_and_key
    reply = signed(good(check), key)
    assert check.require(reply, site="site-0") == vector_sha256(reply.update)


def test_an_update_at_its_bound_is_accepted_despite_rounding(
    check_and_key: tuple[RoundCheck, SigningKey],
) -> None:
    check, key = check_and_key
    update = np.zeros(P, "<f4")
    update[0] = LIMIT * (1 + 1e-6)
    check.require(signed(replace(good(check), update=update), key), site="site-0")


@pytest.mark.parametrize(
    "field", [entry for entry in TrainReply.__dataclass_fields__ if entry != "signature"]
)
def test_the_signature_covers_every_field(
    check_and_key: tuple[RoundCheck, SigningKey], field: str
) -> None:
    check, key = check_and_key
    reply = signed(good(check), key)
    value = getattr(reply, field)
    changed = value + 1 if field in {"round", "update"} else value[::-1] + "0"
    assert signed_bytes(replace(reply, **{field: changed})) != signed_bytes(reply)


def test_a_reply_signed_by_another_site_is_refused(
    check_and_key: tuple[RoundCheck, SigningKey], tmp_path: Path
) -> None:
    check, _ = check_and_key
    other = load_key(tmp_path / "sites" / "site-1" / "keys" / "site.pem")
    with pytest.raises(ProtocolError) as caught:
        check.require(signed(good(check), other), site="site-0")
    assert caught.value.code == "protocol.bad-signature"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("privacy.budget-exhausted", "privacy.budget-exhausted"),
        ("Privacy.Budget", "protocol.malformed"),
        ("a patient's name", "protocol.malformed"),
        ("privacy." + "x" * 200, "protocol.malformed"),
    ],
)
def test_only_a_code_survives_of_a_refusal(
    check_and_key: tuple[RoundCheck, SigningKey], sent: str, kept: str
) -> None:
    check, _ = check_and_key
    refusal = Refusal(plan_sha256=check.plan.sha256, site="site-0", code=sent, correlation_id="1")
    assert refusal_code(refusal, check.plan, site="site-0") == kept


def test_the_norm_is_summed_in_float64_over_blocks() -> None:
    # 2²⁰ entries of 1e-3: norm 1.024 exactly in reals
    assert norm_of(np.full(1 << 20, 1e-3, "<f4")) == pytest.approx(1.024, rel=1e-7)
    assert norm_of(np.array([3e38, 3e38], "<f4")) == pytest.approx(3e38 * 2**0.5, rel=1e-6)
