"""What left a site: one line per message, and the stored reply that a repeated request gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.gate.outbox import MOST_A_MINUTE, Departure, Outbox
from shared.contract.payload import pack
from shared.contract.protocol import Refusal
from shared.errors import LedgerError

REPLY = Refusal(plan_sha256="a", site="north", code="policy.no", correlation_id="7")


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox", tmp_path / "replies")


def departure(channel: str = "train", **changes: object) -> Departure:
    plain: dict[str, object] = {
        "utc": "2026-01-01T00:00:00+00:00",
        "channel": channel,
        "release_class": "dp",
        "message": "TrainReply",
        "n_bytes": 10,
        "payload_sha256": "b" * 64,
        "epsilon": 1.5,
        "plan_sha256": "a" * 64,
    }
    return Departure(**plain | changes)


def test_departures_are_shown_oldest_first(outbox: Outbox) -> None:
    assert outbox.show() == ()
    sent = [departure("hello", epsilon=None), departure("train")]
    for each in sent:
        outbox.record(each)
    assert outbox.show() == tuple(sent)


def test_of_what_costs_nothing_few_lines_a_minute_are_written_and_the_others_counted(
    outbox: Outbox,
) -> None:
    hello = departure("query.hello", release_class="public", epsilon=0.0)
    for minute in ("2026-01-01T00:00", "2026-01-01T00:01"):
        for _ in range(MOST_A_MINUTE + 5):
            outbox.record_often(hello, minute=minute)
        outbox.record_often(departure(release_class="repeat"), minute=minute)
    shown = [each.channel for each in outbox.show()]
    assert (shown.count("query.hello"), shown.count("train")) == (2 * MOST_A_MINUTE, 2)
    assert outbox.further() == {"query.hello (public)": 10}


def test_a_message_has_left_once_a_line_says_so_in_its_own_class(outbox: Outbox) -> None:
    assert not outbox.has_left("b" * 64)
    outbox.record(departure(release_class="repeat"))
    assert not outbox.has_left("b" * 64)
    outbox.record(departure(payload_sha256="c" * 64, plan_sha256="b" * 64))
    assert not outbox.has_left("b" * 64), "a plan's hash is no payload"
    outbox.record(departure())
    assert outbox.has_left("b" * 64)


def test_a_line_that_a_crash_tore_is_no_departure(outbox: Outbox, tmp_path: Path) -> None:
    outbox.record(departure())
    log = tmp_path / "outbox" / "outbox.jsonl"
    log.write_bytes(log.read_bytes() + b'{"channel": "tr')
    assert outbox.show() == (departure(),)


def test_a_reply_is_kept_under_its_request_alone(outbox: Outbox, tmp_path: Path) -> None:
    outbox.store_reply("1" * 64, REPLY)
    assert outbox.stored_reply("1" * 64) == REPLY
    assert outbox.stored_reply("2" * 64) is None
    path = tmp_path / "replies" / f"{'1' * 64}.json"
    assert path.read_bytes() == pack(REPLY)
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_left_is_for_the_owners_eyes_only(outbox: Outbox, tmp_path: Path) -> None:
    outbox.record(departure())
    outbox.store_reply("1" * 64, REPLY)
    assert (tmp_path / "replies").stat().st_mode & 0o077 == 0
    log = tmp_path / "outbox" / "outbox.jsonl"
    assert log.stat().st_mode & 0o077 == 0 or log.parent.stat().st_mode & 0o077 == 0
    outbox.store_reply("1" * 64, REPLY)
    outbox.record(departure("hello"))
    assert [each.channel for each in outbox.show()] == ["train", "hello"]


def test_nothing_is_made_by_looking(outbox: Outbox, tmp_path: Path) -> None:
    outbox.show()
    outbox.stored_reply("1" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_reply_is_refused_and_not_computed_again(outbox: Outbox, tmp_path: Path) -> None:
    outbox.store_reply("1" * 64, REPLY)
    path = tmp_path / "replies" / f"{'1' * 64}.json"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(LedgerError) as caught:
        outbox.stored_reply("1" * 64)
    assert caught.value.code == "ledger.reply-damaged"
