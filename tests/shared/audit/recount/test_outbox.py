"""What leaves a site uncharged must be small: data about patients in it shows by its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from handed_over import HandedOver
from test_claims import change_outbox, charged, failed, recount

import shared.audit.recount.ledger as recount_ledger
from shared.audit.recount.evidence import DepartedMessage, SiteEvidence
from shared.audit.recount.outbox import is_charged, largest_bytes, recount_outbox
from shared.audit.recount.recounted import RecountedLedger
from shared.contract.payload import pack
from shared.contract.plan import Plan
from shared.contract.protocol import HelloReply, Refusal, SumReply, WeightsReply, Wire
from shared.privacy.ledger_export import encode_export

HASH, SITE, SIGNATURE = "a" * 64, "s" * 41, "0" * 128
LONGEST: list[Wire] = [
    HelloReply(
        plan_sha256=HASH,
        nonce=HASH,
        site=SITE,
        code_sha256=HASH,
        has_encoder=False,
        signature=SIGNATURE,
    ),
    WeightsReply(plan_sha256=HASH, site=SITE, index=1023, is_complete=False, signature=SIGNATURE),
    SumReply(
        plan_sha256=HASH,
        stage="p" * 41,
        round=10_000,
        site=SITE,
        status="not-applicable",
        release_class="governed",
        vector_sha256=HASH,
        release_sha256=HASH,
        total=np.zeros(0),
        ledger_head=HASH,
        signature=SIGNATURE,
    ),
    Refusal(plan_sha256=HASH, site=SITE, code="a" * 12 + "." + "b" * 60, correlation_id="c" * 16),
]


@pytest.fixture(autouse=True)
def _one_accountant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one has no part in these claims and is slow."""
    monkeypatch.setattr(recount_ledger, "second_epsilon", recount_ledger.epsilon_of)


def uncharged(message: str, n_bytes: int, **changes: object) -> dict[str, object]:
    """A line of an outbox for a message that costs nothing."""
    line: dict[str, object] = {
        "utc": "2026-03-04T05:06:07+00:00",
        "channel": "query.hello",
        "release_class": "public",
        "message": message,
        "n_bytes": n_bytes,
        "payload_sha256": "5" * 64,
        "epsilon": 0.0,
        "plan_sha256": "",
    }
    return line | changes


def outbox_with(handed: HandedOver, *lines: dict[str, object]) -> SiteEvidence:
    change_outbox(handed, lambda found: found.extend(lines))
    return handed.evidence()


def ledger_of(handed: HandedOver) -> RecountedLedger:
    return RecountedLedger(handed.plan, "elm", tuple(handed.rows()))


@pytest.mark.parametrize("message", LONGEST, ids=lambda message: type(message).__name__)
def test_the_longest_reply_that_an_honest_site_can_pack_is_within_its_bound(
    handed: HandedOver, message: Wire
) -> None:
    # of a plan that is not at hand: of this run's own, names of stages are known, and so is the length
    line = uncharged(type(message).__name__, len(pack(message)), plan_sha256="8" * 64)
    found = recount_outbox(ledger_of(handed), outbox_with(handed, line))
    assert found.verdict == "pass", found.because


@pytest.mark.parametrize("release_class", ["public", "status", "free"])
@pytest.mark.parametrize("message", ["HelloReply", "WeightsReply", "SumReply", "Refusal"])
def test_a_reply_too_large_for_what_it_has_to_say_is_refuted_by_channel_and_bytes(
    handed: HandedOver, message: str, release_class: str
) -> None:
    line = uncharged(message, 5_000_000, release_class=release_class)
    change_outbox(handed, lambda lines: lines.append(line))
    found = recount(handed)
    assert failed(found) == {"outbox"}
    for words in ("query.hello", release_class, "5000000 bytes", message):
        assert words in found["outbox"].because


def test_a_measured_table_does_not_fit_into_a_reply_that_says_nothing_was_measured(
    handed: HandedOver,
) -> None:
    held = handed.evidence().held
    assert held is not None
    measured = held.replies["internal", 1]
    of_the_run = {"release_class": "status", "plan_sha256": handed.plan.sha256}
    line = uncharged("SumReply", len(pack(measured)), **of_the_run)
    found = recount_outbox(ledger_of(handed), outbox_with(handed, line))
    assert found.verdict == "fail"
    empty = replace(measured, status="not-applicable", total=np.zeros(0))
    honest = uncharged("SumReply", len(pack(empty)), **of_the_run)
    change_outbox(handed, lambda lines: lines.__setitem__(-1, honest))
    assert recount_outbox(ledger_of(handed), handed.evidence()).verdict == "pass"


@pytest.mark.parametrize("change", [{"release_class": "governed"}, {"channel": "evaluate.internal"}])
def test_a_charged_message_leaves_in_the_class_and_for_the_purpose_of_its_charge(
    handed: HandedOver, change: dict[str, str]
) -> None:
    change_outbox(handed, lambda lines: charged(lines).update(change))
    found = recount_outbox(ledger_of(handed), handed.evidence())
    assert found.verdict == "fail"
    assert "was charged as train, dp" in found.because


def test_a_message_of_no_known_kind_or_of_another_plan_is_not_overlooked(handed: HandedOver) -> None:
    for line in (
        uncharged("Films", 10, plan_sha256=handed.plan.sha256),
        uncharged("HelloReply", 0),
        uncharged("HelloReply", 5_000_000, plan_sha256="8" * 64),
        uncharged("Charge", 600, plan_sha256="8" * 64),
    ):
        assert recount_outbox(ledger_of(handed), outbox_with(handed, line)).verdict == "fail"
        change_outbox(handed, lambda lines: lines.pop())
    assert recount_outbox(ledger_of(handed), handed.evidence()).verdict == "pass"


@pytest.mark.parametrize("message", ["Statement", "StatementPage", "LedgerExport", "RegisterRecord"])
def test_files_handed_over_are_bounded_by_what_they_can_list(handed: HandedOver, message: str) -> None:
    ledger, evidence = ledger_of(handed), handed.evidence()
    line = uncharged(message, 1, channel="export", plan_sha256=handed.plan.sha256)
    most = largest_bytes(ledger, evidence, DepartedMessage.model_validate(line))
    n_charged = sum(is_charged(each) for each in evidence.outbox or ())
    assert n_charged == 3
    # 32 KiB, and 2 KiB for each release that is listed, 4 KiB for each row, 12 bytes for each number
    expected: dict[str, Callable[[], int]] = {
        "Statement": lambda: 32768 + 3 * 2048,
        "StatementPage": lambda: 32768 + 3 * 2048,
        "LedgerExport": lambda: 32768 + len(ledger.rows) * 4096,
        "RegisterRecord": lambda: 32768 + 12 * 3,  # the plan has no canaries, and 2 steps
    }
    assert most == expected[message]()
    for n_bytes, verdict in ((most, "pass"), (most + 1, "fail")):
        found = recount_outbox(ledger, outbox_with(handed, line | {"n_bytes": n_bytes}))
        assert found.verdict == verdict
        change_outbox(handed, lambda lines: lines.pop())


def test_a_register_may_hold_a_number_for_each_canary_and_step_of_its_own_run(
    handed: HandedOver,
) -> None:
    """Of another run the plan is not at hand: its charges say how many steps, not how many canaries."""
    evidence = handed.evidence()
    content = handed.plan.model_dump(mode="json")
    content["stages"][0]["canaries"] = 400
    asked = Plan.model_validate(content)
    rows = [replace(row, plan_sha256=asked.sha256 if row.run else "") for row in handed.rows()]
    other = [replace(row, plan_sha256="8" * 64) for row in handed.rows()]
    ledger = RecountedLedger(asked, "elm", (*rows, *other))
    for plan_sha256, n_canaries in ((asked.sha256, 400), ("8" * 64, 10_000)):
        line = uncharged("RegisterRecord", 1, plan_sha256=plan_sha256)
        most = largest_bytes(ledger, evidence, DepartedMessage.model_validate(line))
        assert most == 32768 + 12 * (n_canaries + 1) * 3


def test_a_sites_own_exports_are_far_below_their_bounds(made_run: HandedOver) -> None:
    ledger, evidence = ledger_of(made_run), made_run.evidence()
    sizes = {each.message: each.n_bytes for each in evidence.outbox or () if not is_charged(each)}
    assert {"HelloReply", "Statement", "StatementPage"} <= set(sizes)
    sizes["LedgerExport"] = len(encode_export(made_run.export()))
    for message, n_bytes in sizes.items():
        line = DepartedMessage.model_validate(uncharged(message, n_bytes))
        most = largest_bytes(ledger, evidence, line)
        assert most is not None
        assert n_bytes < most
