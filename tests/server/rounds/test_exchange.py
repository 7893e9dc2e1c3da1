"""Who is who on a grid, what is pulled when, and the encoder's delivery."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import practice_federation as practice
import pytest
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo

from server.engines.local import LocalGrid, run_local
from server.rounds import exchange as exchange_module
from server.rounds import weights_delivery
from server.rounds.exchange import Exchange
from server.run.events import AWAY, BACK
from server.run.folder import RunStore
from shared.contract.protocol import HelloReply, Refusal, SumRequest, from_record, to_record
from shared.errors import RunError
from shared.signing.keys import create_key


def exchange_of(store: RunStore, grid: LocalGrid, log: list[tuple[str, str]] | None = None) -> Exchange:
    kept = [] if log is None else log
    return Exchange(grid, store.plan, log=lambda site, code: kept.append((site, code)))


def request(store: RunStore) -> SumRequest:
    return SumRequest(
        plan_sha256=store.plan.sha256,
        stage="train",
        round=1,
        vector=store.training.committed(0).vector,
        release_sha256="",
        lock_sha256="",
        ledger_head="",
        countersignature="",
    )


def test_sites_are_found_by_their_signed_hello(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    exchange = exchange_of(store, LocalGrid(practice.app, folders))
    exchange.meet(store.plan.roster, wait_s=1.0)
    assert exchange.sites == set(folders)


def test_a_node_cannot_take_the_name_of_another_site(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    (folders["site-1"] / "claims.json").write_text('"site-0"')
    log: list[tuple[str, str]] = []
    exchange = exchange_of(store, LocalGrid(practice.app, folders), log)
    exchange.meet(store.plan.roster, wait_s=0.1)
    assert exchange.sites == {"site-0", "site-2", "site-3"}
    assert ("", "protocol.bad-signature") in log


def test_two_nodes_with_the_key_of_one_site_are_both_refused(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    twice = folders | {"copy": folders["site-0"]}
    log: list[tuple[str, str]] = []
    exchange = exchange_of(store, LocalGrid(practice.app, twice), log)
    exchange.meet(store.plan.roster, wait_s=0.1)
    assert exchange.sites == {"site-1", "site-2", "site-3"}
    assert ("site-0", "protocol.two-nodes-one-site") in log


def test_a_node_that_is_not_on_the_roster_is_left_out_and_never_named(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    stranger = tmp_path / "stranger"
    create_key(stranger / "keys" / "site.pem")
    site = {"site": "mrs-canary", "plan_sha256": store.plan.sha256, "encoder_sha256": ""}
    (stranger / "site.json").write_text(json.dumps(site))
    log: list[tuple[str, str]] = []
    exchange = exchange_of(store, LocalGrid(practice.app, folders | {"x": stranger}), log)
    exchange.meet(store.plan.roster, wait_s=0.1)
    assert exchange.sites == set(folders)
    assert all(name in {"", *folders} for name, _ in log)


def test_a_required_site_that_is_absent_stops_the_run_before_its_first_round(
    tmp_path: Path,
) -> None:
    settings = practice.practice_settings(federation={"liveness_s": 0.2})
    store, folders = practice.found_federation(tmp_path, settings=settings, is_required=True)
    del folders["site-2"]
    with pytest.raises(RunError) as caught:
        run_local(store.folder, folders, client_app=practice.app)
    assert caught.value.code == "run.site-absent"
    assert "site-2" in caught.value.fact
    assert ("site-2", "run.site-absent") in {(event.site, event.code) for event in store.events()}


def test_an_optional_site_that_is_absent_is_a_missing_update(tmp_path: Path) -> None:
    settings = practice.practice_settings(federation={"liveness_s": 0.2})
    store, folders = practice.found_federation(tmp_path, settings=settings)
    del folders["site-2"]
    run_local(store.folder, folders, client_app=practice.app)
    assert dict(store.training.committed(3).missing) == {"site-2": "run.site-absent"}


def test_a_site_that_refused_is_greeted_again_while_the_run_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_module, "GREET_AGAIN_S", 0.05)
    store, folders = practice.found_federation(tmp_path, n_sites=2)
    lie = folders["site-1"] / "claims.json"
    lie.write_text('"site-0"')
    log: list[tuple[str, str]] = []

    def note(site: str, code: str) -> None:
        log.append((site, code))
        lie.unlink(missing_ok=True)

    exchange = Exchange(LocalGrid(practice.app, folders), store.plan, log=note)
    exchange.meet(store.plan.roster, wait_s=5.0)
    assert exchange.sites == set(folders)
    assert log == [("", "protocol.bad-signature")]


def test_a_site_that_approves_during_round_1_has_a_part_in_round_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_module, "GREET_AGAIN_S", 0.0)
    settings = practice.practice_settings(federation={"liveness_s": 0.1})
    store, folders = practice.found_federation(tmp_path, settings=settings, n_sites=3)
    late, approved = folders["site-2"], tmp_path / "approved"

    def answer(message: Message, context: Context) -> Message:
        metadata = message.metadata
        if metadata.group_id == "train-1":
            approved.touch()
        is_late = context.node_config["site-folder"] == str(late) and not approved.exists()
        if metadata.message_type == exchange_module.HELLO and is_late:
            refusal = Refusal(
                plan_sha256=store.plan.sha256,
                site="site-2",
                code="plan.not-approved",
                correlation_id="0",
            )
            return Message(to_record(refusal), reply_to=message)
        return practice.app(message, context)

    run_local(store.folder, folders, client_app=answer)  # type: ignore[arg-type]
    # a site answers as it is when it is greeted, or here, in this process, when its answer is taken
    assert store.training.missing(1) == {"site-2": "plan.not-approved"}
    assert store.training.missing(3) == {}
    assert "3" in [line.split()[0] for line in (late / "trained.log").read_text().splitlines()]


def test_a_greeting_in_passing_waits_for_nobody_and_a_refusal_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=2)
    lie = folders["site-1"] / "claims.json"
    lie.write_text('"site-0"')
    log: list[tuple[str, str]] = []
    grid = LocalGrid(practice.app, folders)
    exchange = exchange_of(store, grid, log)
    exchange.meet(store.plan.roster, wait_s=0.0)
    pushed = grid._n_pushed
    exchange.meet(store.plan.roster, wait_s=0.0)
    assert grid._n_pushed == pushed, "greeted again too early"
    monkeypatch.setattr(exchange_module, "GREET_AGAIN_S", 0.0)
    for _ in range(3):
        exchange.meet(store.plan.roster, wait_s=0.0)
    assert exchange.sites == {"site-0"}
    assert log == [("", "protocol.bad-signature")]
    lie.unlink()
    exchange.meet(store.plan.roster, wait_s=0.0)
    assert exchange.sites == set(folders)


class LateGrid(LocalGrid):
    """A grid whose last node is there only once it is let in."""

    is_whole: bool = False

    def get_nodes(self) -> Iterable[NodeInfo]:
        nodes = list(super().get_nodes())
        return nodes if self.is_whole else nodes[:-1]


def test_a_second_node_with_a_sites_key_does_not_take_the_place_of_the_first(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=2)
    (folders["site-1"] / "claims.json").write_text('"site-0"')  # so that site-1 is waited for
    grid = LateGrid(practice.app, folders | {"copy": folders["site-0"]})
    log: list[tuple[str, str]] = []
    exchange = exchange_of(store, grid, log)
    exchange.meet(store.plan.roster, wait_s=0.0)
    first = dict(exchange._nodes)
    assert set(first) == {"site-0"}
    grid.is_whole = True
    exchange.meet(store.plan.roster, wait_s=0.0)
    assert exchange._nodes == first
    assert ("site-0", "protocol.two-nodes-one-site") in log


def test_a_hello_that_answers_an_earlier_question_is_refused(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1)
    recorded: list[HelloReply] = []

    class RecordingGrid(LocalGrid):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            for message in super().pull_messages(message_ids):
                recorded.append(from_record(message.content, HelloReply))
                message.content = to_record(recorded[0])
                yield message

    exchange_of(store, RecordingGrid(practice.app, folders)).meet(store.plan.roster, wait_s=0.0)
    log: list[tuple[str, str]] = []
    later = exchange_of(store, RecordingGrid(practice.app, folders), log)
    later.meet(store.plan.roster, wait_s=0.0)
    assert recorded[0].nonce != recorded[1].nonce
    assert later.sites == frozenset()
    assert log == [("", "protocol.wrong-nonce")]


class FlakyGrid(LocalGrid):
    """A grid whose first node can be away for some polls, and counts what is pushed and pulled."""

    away: range = range(0)
    activations: int = 0
    polls: int = 0
    pushed: int = 0
    pulled_while_away: int = 0

    def get_nodes(self) -> Iterable[NodeInfo]:
        self.polls += 1
        nodes = list(super().get_nodes())
        nodes[0].last_activated_at = str(self.activations)
        return nodes[1:] if self.polls in self.away else nodes

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        listed = list(messages)
        self.pushed += sum(message.metadata.message_type == "train" for message in listed)
        return super().push_messages(listed)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self.pulled_while_away += self.polls in self.away
        return super().pull_messages(message_ids)


def test_nothing_is_pulled_for_a_node_that_is_offline(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1)
    grid = FlakyGrid(practice.app, folders)
    exchange = exchange_of(store, grid)
    exchange.meet(store.plan.roster, wait_s=1.0)
    grid.away = range(grid.polls + 2, grid.polls + 6)
    arrivals = list(exchange.ask({"site-0": request(store)}, message_type="train", group="1"))
    assert grid.pulled_while_away == 0
    assert arrivals[0].message is not None, "a node that comes back is waited for"


def test_a_node_that_stays_offline_is_given_up_after_its_liveness(tmp_path: Path) -> None:
    settings = practice.practice_settings(federation={"liveness_s": 0.1})
    store, folders = practice.found_federation(tmp_path, n_sites=1, settings=settings)
    grid = FlakyGrid(practice.app, folders)
    exchange = exchange_of(store, grid)
    exchange.meet(store.plan.roster, wait_s=1.0)
    grid.away = range(grid.polls + 2, 10_000)
    arrivals = list(exchange.ask({"site-0": request(store)}, message_type="train", group="1"))
    assert arrivals[0].code == "run.site-offline"


@pytest.mark.parametrize(("waited", "codes"), [(0.0, [AWAY, BACK]), (1000.0, [])])
def test_a_site_that_is_away_for_long_is_told_once_and_that_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited: float, codes: list[str]
) -> None:
    monkeypatch.setattr("server.rounds.exchange.AWAY_AFTER_S", waited)
    store, folders = practice.found_federation(tmp_path, n_sites=1)
    grid = FlakyGrid(practice.app, folders)
    told: list[tuple[str, str]] = []
    exchange = Exchange(grid, store.plan, log=lambda site, code: told.append((site, code)))
    exchange.meet(store.plan.roster, wait_s=1.0)
    grid.away = range(grid.polls + 2, grid.polls + 6)
    list(exchange.ask({"site-0": request(store)}, message_type="train", group="1"))
    assert told == [("site-0", code) for code in codes]


def test_a_message_is_pushed_again_when_its_node_was_restarted(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1)
    grid = FlakyGrid(practice.app, folders)
    exchange = exchange_of(store, grid)
    exchange.meet(store.plan.roster, wait_s=1.0)
    grid.away = range(grid.polls + 2, grid.polls + 4)
    grid_get = grid.get_nodes

    def restart() -> Iterable[NodeInfo]:
        if grid.polls == grid.away.stop - 1:
            grid.activations += 1
        return grid_get()

    grid.get_nodes = restart  # type: ignore[method-assign]
    list(exchange.ask({"site-0": request(store)}, message_type="train", group="1"))
    assert grid.pushed == 2


def test_a_site_that_is_left_out_meanwhile_is_waited_for_no_more(tmp_path: Path) -> None:
    settings = practice.practice_settings(federation={"liveness_s": 60.0, "round_deadline_s": 60.0})
    store, folders = practice.found_federation(tmp_path, n_sites=1, settings=settings)
    grid = FlakyGrid(practice.app, folders)
    exchange = exchange_of(store, grid)
    exchange.meet(store.plan.roster, wait_s=1.0)
    grid.pull_messages = lambda _: []  # type: ignore[method-assign]
    asked = 0

    def left_out() -> dict[str, str]:
        nonlocal asked
        asked += 1
        return {"site-0": "run.site-dropped"} if asked > 3 else {}

    requests = {"site-0": request(store)}
    [arrival] = exchange.ask(requests, message_type="train", group="1", left_out=left_out)
    assert (arrival.code, arrival.has_answered, asked) == ("run.site-dropped", False, 4)


class LosingGrid(FlakyGrid):
    """A grid that loses its first messages and says so by Flower's own errors."""

    lost: tuple[int, ...] = ()

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        for message in super().pull_messages(message_ids):
            if message.metadata.message_type == "train" and self.pushed <= len(self.lost):
                code = self.lost[self.pushed - 1]
                yield Message(Error(code=code, reason=""), reply_to=message)
            else:
                yield message


def asked_over(grid: LosingGrid, store: RunStore) -> str:
    """The code of what arrives of the only site; empty: its answer."""
    exchange = exchange_of(store, grid)
    exchange.meet(store.plan.roster, wait_s=1.0)
    [arrival] = exchange.ask({"site-0": request(store)}, message_type="train", group="1")
    return arrival.code


def test_a_message_that_was_lost_on_its_way_is_pushed_again_in_the_same_round(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1)
    grid = LosingGrid(practice.app, folders)
    grid.lost = (ErrorCode.NODE_UNAVAILABLE, ErrorCode.CLIENT_APP_CRASHED)
    assert asked_over(grid, store) == ""
    assert grid.pushed == 3


def test_a_site_that_dies_of_every_attempt_is_given_up_under_flowers_error(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1)
    grid = LosingGrid(practice.app, folders)
    grid.lost = (ErrorCode.CLIENT_APP_CRASHED,) * 10
    assert asked_over(grid, store) == "engine.flower-error-8"
    assert grid.pushed == exchange_module.MOST_LOST + 1


def test_another_error_of_flower_is_the_sites_answer(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1)
    grid = LosingGrid(practice.app, folders)
    grid.lost = (ErrorCode.CLIENT_APP_RAISED_EXCEPTION,) * 10
    assert asked_over(grid, store) == "engine.flower-error-2"
    assert grid.pushed == 1


def test_weights_for_many_sites_are_serialised_once(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path)
    order = request(store)
    requests = {name: replace(order, ledger_head=name) for name in folders}
    records = exchange_module._records(requests)
    assert len({id(record["arrays"]) for record in records.values()}) == 1
    heads = {name: from_record(record, SumRequest).ledger_head for name, record in records.items()}
    assert heads == {name: name for name in folders}


def test_an_answer_that_is_no_message_is_told_from_silence(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1)
    babbling = ClientApp()
    babbling.query("hello")(practice.hello)
    babbling.train()(lambda message, _: Message(RecordDict(), reply_to=message))
    exchange = exchange_of(store, LocalGrid(babbling, folders))
    exchange.meet(store.plan.roster, wait_s=1.0)
    [arrival] = exchange.ask({"site-0": request(store)}, message_type="train", group="1")
    assert arrival.has_answered
    assert arrival.code == "protocol.malformed"


def test_an_answer_of_the_second_protocol_is_refused_with_its_reason(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1)
    older = ClientApp()
    older.query("hello")(practice.hello)

    @older.train()
    def train(message: Message, context: Context) -> Message:
        reply = practice.train(message, context)
        reply.content["message"]["version"] = 2
        return reply

    exchange = exchange_of(store, LocalGrid(older, folders))
    exchange.meet(store.plan.roster, wait_s=1.0)
    [arrival] = exchange.ask({"site-0": request(store)}, message_type="train", group="train-1")
    assert arrival.has_answered
    assert arrival.code == "protocol.unknown-version"


def test_a_site_of_the_second_protocol_is_not_met_and_the_log_says_why(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1)
    older = ClientApp()

    @older.query("hello")
    def hello(message: Message, context: Context) -> Message:
        reply = practice.hello(message, context)
        reply.content["message"]["version"] = 2
        return reply

    log: list[tuple[str, str]] = []
    exchange = exchange_of(store, LocalGrid(older, folders), log)
    exchange.meet(store.plan.roster, wait_s=0.1)
    assert exchange.sites == frozenset()
    assert set(log) == {("", "protocol.unknown-version")}


def test_the_encoder_is_sent_once_in_pieces_and_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_delivery, "CHUNK_BYTES", 1000)
    content = bytes(range(256)) * 10  # 2560 bytes are three pieces
    store, folders = practice.found_federation(tmp_path, encoder=content)
    run_local(store.folder, folders, client_app=practice.app)
    cached = folders["site-1"] / "cache" / str(store.plan.encoder_sha256)
    assert cached.read_bytes() == content
    pieces = (folders["site-1"] / "chunks.log").read_text().splitlines()
    assert pieces == ["0/3", "1/3", "2/3"], "once, not every round"
    second, folders = practice.found_federation(tmp_path, encoder=content, run="second")
    run_local(second.folder, folders, client_app=practice.app)
    assert len((folders["site-1"] / "chunks.log").read_text().splitlines()) == 3


def test_a_site_that_refuses_the_encoder_is_logged_by_its_own_code(tmp_path: Path) -> None:
    store, folders = practice.found_federation(tmp_path, n_sites=1, encoder=b"encoder")
    refusing = ClientApp()
    refusing.query("hello")(practice.hello)

    @refusing.query("weights")
    def refuse(message: Message, _: Context) -> Message:
        plan_sha256 = store.plan.sha256
        refusal = Refusal(
            plan_sha256=plan_sha256, site="site-0", code="weights.too-large", correlation_id="0"
        )
        return Message(to_record(refusal), reply_to=message)

    exchange = exchange_of(store, LocalGrid(refusing, folders))
    exchange.meet(store.plan.roster, wait_s=1.0)
    log: list[tuple[str, str]] = []
    weights_delivery.deliver_encoder(exchange, store, log=lambda site, code: log.append((site, code)))
    assert log == [("site-0", "weights.too-large")]
    assert exchange.needs_encoder == {"site-0"}
