"""Every way in which a total can be wrong, each signed by its site's true key where that matters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import practice_federation as practice
import pytest
from practice_federation import N_CELLS, P
from practice_learners import learner_plan, stage_of

from server.rounds.replies import ReplyCheck, norm_of, refusal_code
from server.run.folder import RunStore
from shared.contract.protocol import Refusal, SumReply, signed_bytes, vector_sha256
from shared.contract.stages import GradientStage, TableStage
from shared.errors import ProtocolError
from shared.learners.second_moments import SecondMoments
from shared.measure.table.spec import sensitivity
from shared.privacy.noise import NoiseStream
from shared.signing.keys import SigningKey, create_key, load_key
from shared.stages.kinds import sum_of
from shared.stages.learner import LearnerSum, table_task
from shared.stages.table import TableSum

LIMIT = 1e5  # the practice plan's bound on an update's norm
RELEASE = "a" * 64


def check_of(store: RunStore, stage: str, *, number: int = 1, release: str = "") -> ReplyCheck:
    settings = store.plan.stage(stage)
    return ReplyCheck(
        plan=store.plan,
        stage=settings,
        asked=sum_of(store.plan, settings, encoder_file=None),
        round=number,
        vector_sha256=vector_sha256(store.training.committed(0).vector),
        release_sha256=release,
    )


@pytest.fixture
def check_and_key(tmp_path: Path) -> tuple[ReplyCheck, SigningKey]:
    store, folders = practice.found_federation(tmp_path)
    return check_of(store, "train", number=2), load_key(folders["site-0"] / "keys" / "site.pem")


def good(check: ReplyCheck, total: np.ndarray | None = None) -> SumReply:
    """What an honest site answers."""
    return SumReply(
        plan_sha256=check.plan.sha256,
        stage=check.stage.name,
        round=check.round,
        site="site-0",
        status="measured",
        release_class=check.stage.release_class,
        vector_sha256=check.vector_sha256,
        release_sha256=check.release_sha256,
        total=np.arange(P, dtype="<f4") if total is None else total,
        ledger_head="a" * 64,
    )


def signed(reply: SumReply, key: SigningKey) -> SumReply:
    return replace(reply, signature=key.sign(signed_bytes(reply)))


def code_of(check: ReplyCheck, reply: SumReply) -> str:
    """The code with which a reply is rejected."""
    with pytest.raises(ProtocolError) as caught:
        check.require(reply, site="site-0")
    return caught.value.code


def with_entry(value: float) -> Callable[[SumReply], SumReply]:
    def change(reply: SumReply) -> SumReply:
        total = reply.total.copy()
        total[3] = value
        return replace(reply, total=total)

    return change


WRONG: list[tuple[str, Callable[[SumReply], SumReply]]] = [
    ("wrong-plan", lambda reply: replace(reply, plan_sha256="0" * 64)),
    ("wrong-round", lambda reply: replace(reply, round=1)),
    ("wrong-round", lambda reply: replace(reply, round=3)),
    ("wrong-round", lambda reply: replace(reply, stage="internal")),
    ("wrong-site", lambda reply: replace(reply, site="site-1")),
    ("wrong-weights", lambda reply: replace(reply, vector_sha256="0" * 64)),
    ("wrong-release", lambda reply: replace(reply, release_sha256=RELEASE)),
    ("wrong-release-class", lambda reply: replace(reply, release_class="dp")),
    ("wrong-release-class", lambda reply: replace(reply, release_class="governed")),
    ("malformed", lambda reply: replace(reply, ledger_head="Mrs Canary")),
    ("malformed", lambda reply: replace(reply, ledger_index=-1)),
    ("malformed", lambda reply: replace(reply, charges=0)),
    ("malformed", lambda reply: replace(reply, status="fine")),
    ("malformed", lambda reply: replace(reply, status="waiting")),
    ("malformed", lambda reply: replace(reply, status="not-applicable", total=np.zeros(0))),
    ("wrong-shape", lambda reply: replace(reply, total=reply.total[1:])),
    ("wrong-shape", lambda reply: replace(reply, total=np.zeros(P + 1, "<f4"))),
    ("wrong-shape", lambda reply: replace(reply, total=np.zeros(0, "<f4"))),
    ("wrong-type", lambda reply: replace(reply, total=reply.total.astype("<f8"))),
    ("wrong-type", lambda reply: replace(reply, total=reply.total.astype("<f2"))),
    ("wrong-type", lambda reply: replace(reply, total=reply.total.astype(">f4"))),
    ("not-finite", with_entry(np.nan)),
    ("not-finite", with_entry(np.inf)),
    ("not-finite", with_entry(-np.inf)),
    ("norm-exceeded", with_entry(1.001 * LIMIT)),
]


@pytest.mark.parametrize(("code", "change"), WRONG)
def test_a_wrong_total_is_refused_with_its_code_even_if_truly_signed(
    check_and_key: tuple[ReplyCheck, SigningKey],
    code: str,
    change: Callable[[SumReply], SumReply],
) -> None:
    check, key = check_and_key
    assert code_of(check, signed(change(good(check)), key)) == f"protocol.{code}"


def test_a_right_update_is_accepted_and_named_by_its_hash(
    check_and_key: tuple[ReplyCheck, SigningKey],
) -> None:
    check, key = check_and_key
    reply = signed(good(check), key)
    assert check.require(reply, site="site-0") == vector_sha256(reply.total)


def test_an_update_at_its_bound_is_accepted_despite_rounding(
    check_and_key: tuple[ReplyCheck, SigningKey],
) -> None:
    check, key = check_and_key
    update = np.zeros(P, "<f4")
    update[0] = LIMIT * (1 + 1e-6)
    check.require(signed(good(check, update), key), site="site-0")


@pytest.fixture
def table_check_and_key(tmp_path: Path) -> tuple[ReplyCheck, SigningKey]:
    store, folders = practice.found_federation(tmp_path)
    key = load_key(folders["site-0"] / "keys" / "site.pem")
    return check_of(store, "internal", release=RELEASE), key


SPOILT: list[tuple[dict[str, object], str]] = [
    ({"plan_sha256": "0" * 64}, "protocol.wrong-plan"),
    ({"site": "site-1"}, "protocol.wrong-site"),
    ({"stage": "external"}, "protocol.wrong-round"),
    ({"stage": "train"}, "protocol.wrong-round"),
    ({"round": 0}, "protocol.wrong-round"),
    ({"vector_sha256": "0" * 64}, "protocol.wrong-weights"),
    ({"release_sha256": "0" * 64}, "protocol.wrong-release"),
    ({"status": "fine"}, "protocol.malformed"),
    ({"release_class": "governed"}, "protocol.wrong-release-class"),
    ({"release_class": "off"}, "protocol.wrong-release-class"),
    ({"ledger_head": "Mrs Canary"}, "protocol.malformed"),
    ({"total": np.zeros(3)}, "protocol.wrong-shape"),
    ({"total": np.ones(N_CELLS, "<f4")}, "protocol.wrong-type"),
    ({"total": np.full(N_CELLS, np.inf)}, "protocol.not-finite"),
    ({"status": "waiting"}, "protocol.wrong-shape"),
    ({"status": "not-applicable"}, "protocol.wrong-shape"),
    ({"status": "waiting", "total": np.zeros(0, "<f4")}, "protocol.wrong-type"),
    ({"signature": "0" * 128}, "protocol.bad-signature"),
]


@pytest.mark.parametrize(("change", "code"), SPOILT)
def test_a_spoilt_table_is_refused_with_its_code(
    table_check_and_key: tuple[ReplyCheck, SigningKey], change: Mapping[str, object], code: str
) -> None:
    check, key = table_check_and_key
    honest = good(check, np.ones(N_CELLS))
    check.require(signed(honest, key), site="site-0")
    changed = replace(honest, **change)
    assert code_of(check, changed if "signature" in change else signed(changed, key)) == code


@pytest.mark.parametrize("status", ["not-applicable", "waiting"])
def test_a_site_may_have_nobody_to_measure(
    table_check_and_key: tuple[ReplyCheck, SigningKey], status: str
) -> None:
    check, key = table_check_and_key
    check.require(signed(replace(good(check, np.zeros(0)), status=status), key), site="site-0")


DP = {"mode": "patient_dp", "epsilon": 3.0, "clip_norm": 0.5}


@pytest.fixture
def summing(tmp_path: Path) -> tuple[RunStore, SigningKey]:
    """A plan with patient-level privacy whose noised sums of clipped gradients are folded here."""
    settings = practice.practice_settings(privacy=DP, federation={"fold": "coordinator"})
    store, folders = practice.found_federation(
        tmp_path, settings=settings, n_sites=2, declared=(40, 100)
    )
    return store, load_key(folders["site-0"] / "keys" / "site.pem")


def test_a_noised_sum_is_believed_up_to_ten_times_its_patients_and_the_radius_of_its_noise(
    summing: tuple[RunStore, SigningKey],
) -> None:
    store, key = summing
    check = check_of(store, "train")
    assert isinstance(check.stage, GradientStage)
    clip_norm, sd = 0.5, 0.5 * check.stage.noise_multiplier
    # 40 declared patients, at most ten times as many there, each of norm C; six normals have norm √6
    limit = 10 * 40 * clip_norm + sd * (np.sqrt(6) + 10)
    direction = np.full(P, 1 / np.sqrt(P))
    check.require(signed(good(check, limit * direction), key), site="site-0")
    beyond = signed(good(check, limit * 1.001 * direction), key)
    assert code_of(check, beyond) == "protocol.norm-exceeded"


def test_an_honest_noised_sum_of_all_its_patients_in_one_direction_is_accepted(
    summing: tuple[RunStore, SigningKey],
) -> None:
    store, key = summing
    check = check_of(store, "train")
    assert isinstance(check.stage, GradientStage)
    noise = 0.5 * check.stage.noise_multiplier * NoiseStream()(P).numpy()
    total = 10 * 40 * 0.5 * np.eye(P)[2] + noise
    check.require(signed(good(check, total), key), site="site-0")
    assert code_of(check, signed(good(check, total.astype("<f4")), key)) == "protocol.wrong-type"


def test_a_sum_of_unclipped_gradients_has_no_bound_but_must_be_finite(tmp_path: Path) -> None:
    settings = practice.practice_settings(federation={"fold": "coordinator"})
    store, folders = practice.found_federation(tmp_path, settings=settings)
    key = load_key(folders["site-0"] / "keys" / "site.pem")
    check = check_of(store, "train")
    check.require(signed(good(check, np.full(P, 1e30)), key), site="site-0")
    assert code_of(check, signed(good(check, np.full(P, np.nan)), key)) == "protocol.not-finite"


@pytest.mark.parametrize("number", [1, 2])
def test_a_learners_sum_is_believed_up_to_the_bound_and_the_noise_of_its_own_round(
    tmp_path: Path, number: int
) -> None:
    key = create_key(tmp_path / "site.pem")
    plan = learner_plan("ridge", {"site-0": 40}, epsilon=3.0)
    [entry] = plan.roster
    roster = (entry.model_copy(update={"public_key": key.public_hex}),)
    plan = plan.model_copy(update={"roster": roster})
    stage = stage_of(plan)
    asked = LearnerSum(plan, stage, None)
    check = ReplyCheck(plan=plan, stage=stage, asked=asked, round=number, vector_sha256="b" * 64)
    learner = SecondMoments.build(stage.learner, table_task(plan.settings, stage.epsilon))
    f, spread = len(learner.task.columns), [column.spread for column in learner.task.columns]
    radius = np.sqrt(0.65 * np.sum(np.square(spread)) + 1)
    # columns and target about zero, then products of these and a constant
    length, bound = ((f + 1), radius) if number == 1 else ((f + 2) * (f + 3) // 2, 1 + radius**2)
    limit = 10 * 40 * bound + stage.noise_of(number) * bound * (np.sqrt(length) + 10)
    cell = np.eye(length)[1]
    check.require(signed(good(check, limit * cell), key), site="site-0")
    beyond = signed(good(check, limit * 1.001 * cell), key)
    assert code_of(check, beyond) == "protocol.norm-exceeded"


def test_a_noised_table_is_believed_up_to_ten_times_its_patients_and_the_radius_of_its_noise(
    table_check_and_key: tuple[ReplyCheck, SigningKey],
) -> None:
    check, key = table_check_and_key
    assert isinstance(check.stage, TableStage)
    assert isinstance(check.asked, TableSum)
    assert sensitivity(check.asked.spec) == 1.0, "each patient is one count in one cell"
    sd = check.stage.noise_of(1)
    assert sd > 0
    limit = 10 * 100 * 1.0 + sd * (np.sqrt(N_CELLS) + 10)
    cell = np.eye(N_CELLS)[5]
    check.require(signed(good(check, limit * cell), key), site="site-0")
    assert code_of(check, signed(good(check, -limit * 1.001 * cell), key)) == "protocol.norm-exceeded"
    honest = 10 * 100 * cell + sd * NoiseStream()(N_CELLS).numpy()
    check.require(signed(good(check, honest), key), site="site-0")


def test_governed_statistics_may_be_withheld_and_a_table_may_not(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    key = load_key(folders["site-0"] / "keys" / "site.pem")
    stage = store.plan.stage("internal").model_copy(
        update={"release_class": "governed", "noise_multipliers": (0.0,)}
    )
    asked = sum_of(store.plan, stage, encoder_file=None)
    check = replace(check_of(store, "internal"), stage=stage, asked=asked)
    length = asked.bound(1).length
    honest = np.ones(length)
    honest[3:] = np.nan
    check.require(signed(good(check, honest), key), site="site-0")
    for beyond, code in ((np.inf, "not-finite"), (1e9 * length, "norm-exceeded")):
        forged = honest.copy()
        forged[0] = beyond
        assert code_of(check, signed(good(check, forged), key)) == f"protocol.{code}"
    noised = check_of(store, "internal")
    total = np.zeros(N_CELLS)
    total[3] = np.nan
    assert code_of(noised, signed(good(noised, total), key)) == "protocol.not-finite"


@pytest.mark.parametrize(
    "field", [entry for entry in SumReply.__dataclass_fields__ if entry != "signature"]
)
def test_the_signature_covers_every_field(
    check_and_key: tuple[ReplyCheck, SigningKey], field: str
) -> None:
    check, key = check_and_key
    reply = signed(good(check), key)
    value = getattr(reply, field)
    changed = value + 1 if field in {"round", "total", "ledger_index", "charges"} else value[::-1] + "0"
    assert signed_bytes(replace(reply, **{field: changed})) != signed_bytes(reply)


def test_a_reply_signed_by_another_site_is_refused(
    check_and_key: tuple[ReplyCheck, SigningKey], tmp_path: Path
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
    check_and_key: tuple[ReplyCheck, SigningKey], sent: str, kept: str
) -> None:
    check, _ = check_and_key
    refusal = Refusal(plan_sha256=check.plan.sha256, site="site-0", code=sent, correlation_id="1")
    assert refusal_code(refusal, check.plan, site="site-0") == kept


def test_the_norm_is_summed_in_float64_over_blocks() -> None:
    # 2²⁰ entries of 1e-3: norm 1.024 exactly in reals
    assert norm_of(np.full(1 << 20, 1e-3, "<f4")) == pytest.approx(1.024, rel=1e-7)
    assert norm_of(np.array([3e38, 3e38], "<f4")) == pytest.approx(3e38 * 2**0.5, rel=1e-6)
