"""The encoder in pieces: what a site's answer to a piece must be, and who is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import practice_federation as practice
import pytest

from server.rounds import weights_delivery
from server.rounds.exchange import Arrival
from server.rounds.weights_delivery import deliver_encoder
from server.run.folder import RunStore
from shared.contract.protocol import Refusal, WeightsChunk, WeightsReply, signed_bytes
from shared.signing.canonical import sha256_hex
from shared.signing.keys import load_key

CONTENT = bytes(range(256)) * 10  # in pieces of 1000 bytes: three
Spoil = Callable[[WeightsReply], object]


@dataclass
class Sites:
    """An exchange whose sites store pieces; ``spoil`` changes an answer before it is sent."""

    store: RunStore
    folders: Mapping[str, Path]
    spoil: Mapping[str, Spoil] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)
    needs_encoder: set[str] = field(default_factory=set)
    received: dict[str, bytes] = field(default_factory=dict)
    holds: frozenset[tuple[str, str]] = frozenset()
    pieces: list[tuple[str, int, int]] = field(default_factory=list)

    def ask(
        self, requests: Mapping[str, WeightsChunk], *, message_type: str, group: str
    ) -> Iterator[Arrival]:
        for site, chunk in requests.items():
            if site in self.silent:
                yield Arrival(site, code=self.silent[site])
                continue
            self.pieces.append((site, chunk.index, chunk.n_chunks))
            before = self.received.get(site, b"") if chunk.index else b""
            self.received[site] = before + chunk.data
            reply = WeightsReply(
                plan_sha256=chunk.plan_sha256,
                site=site,
                index=chunk.index,
                is_complete=sha256_hex(self.received[site]) == chunk.file_sha256
                or (site, chunk.file_sha256) in self.holds,
            )
            signed = self.sign(reply, site)
            yield Arrival(site, message=self.spoil.get(site, lambda r: r)(signed), has_answered=True)

    def sign(self, reply: WeightsReply, site: str) -> WeightsReply:
        key = load_key(self.folders[site] / "keys" / "site.pem")
        return replace(reply, signature=key.sign(signed_bytes(reply)))


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sites:
    monkeypatch.setattr(weights_delivery, "CHUNK_BYTES", 1000)
    store, folders = practice.found_federation(tmp_path, n_sites=3, encoder=CONTENT)
    return Sites(store, folders, needs_encoder={"site-0", "site-1"})


def deliver(sites: Sites) -> list[tuple[str, str]]:
    log: list[tuple[str, str]] = []
    deliver_encoder(sites, sites.store, log=lambda site, code: log.append((site, code)))
    return log


def test_those_who_lack_it_get_every_piece_once_in_order(sites: Sites) -> None:
    assert deliver(sites) == []
    assert sites.pieces == [(site, n, 3) for n in range(3) for site in ("site-0", "site-1")]
    assert sites.received == {"site-0": CONTENT, "site-1": CONTENT}
    assert sites.needs_encoder == set()


def test_of_several_encoders_a_site_gets_those_whole_that_it_lacks(
    sites: Sites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    second.write_bytes(CONTENT[:1500])
    files = {sha256_hex(CONTENT): sites.store.encoder_file, sha256_hex(CONTENT[:1500]): second}
    monkeypatch.setattr(RunStore, "encoders", files)
    sites.holds = frozenset({("site-0", sha256_hex(CONTENT))})
    assert deliver(sites) == []
    first = [("site-0", 0, 3), ("site-1", 0, 3), ("site-1", 1, 3), ("site-1", 2, 3)]
    both = [(site, n, 2) for n in range(2) for site in ("site-0", "site-1")]
    assert sites.pieces == first + both
    assert sites.needs_encoder == set()


def test_who_did_not_take_the_first_encoder_is_not_sent_the_second(
    sites: Sites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    second.write_bytes(b"second")
    files = {sha256_hex(CONTENT): sites.store.encoder_file, sha256_hex(b"second"): second}
    monkeypatch.setattr(RunStore, "encoders", files)
    sites.spoil = {"site-0": lambda reply: replace(reply, signature="00" * 64)}
    assert deliver(sites) == [("site-0", "protocol.bad-signature")]
    assert [piece for piece in sites.pieces if piece[0] == "site-0"] == [("site-0", 0, 3)]
    assert ("site-1", 0, 1) in sites.pieces
    assert sites.needs_encoder == {"site-0"}


def test_an_encoder_of_whole_pieces_has_no_empty_one_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_delivery, "CHUNK_BYTES", len(CONTENT) // 2)
    store, folders = practice.found_federation(tmp_path, n_sites=1, encoder=CONTENT)
    sites = Sites(store, folders, needs_encoder={"site-0"})
    assert deliver(sites) == []
    assert sites.pieces == [("site-0", 0, 2), ("site-0", 1, 2)]


def test_nothing_is_sent_where_nobody_lacks_it_or_the_plan_has_none(
    sites: Sites, tmp_path: Path
) -> None:
    sites.needs_encoder.clear()
    deliver(sites)
    assert sites.pieces == []
    store, folders = practice.found_federation(tmp_path / "none", n_sites=1)
    without = Sites(store, folders, needs_encoder={"site-0"})
    deliver(without)
    assert without.pieces == []


FOREIGN = "f" * 64
SPOILT: list[tuple[Spoil, str]] = [
    (lambda reply: replace(reply, signature="00" * 64), "protocol.bad-signature"),
    (lambda reply: replace(reply, site="site-2"), "protocol.wrong-site"),
    (lambda reply: replace(reply, plan_sha256=FOREIGN), "protocol.wrong-plan"),
    # changed after it was signed
    (lambda reply: replace(reply, is_complete=not reply.is_complete), "protocol.bad-signature"),
    (lambda reply: replace(reply, index=reply.index + 1), "protocol.bad-signature"),
    (
        lambda reply: Refusal(
            plan_sha256=reply.plan_sha256, site=reply.site, code="policy.encoder", correlation_id="0"
        ),
        "policy.encoder",
    ),
]


@pytest.mark.parametrize(("spoil", "code"), SPOILT)
def test_an_answer_that_is_not_the_sites_own_leaves_it_out(
    sites: Sites, spoil: Spoil, code: str
) -> None:
    sites.spoil = {"site-0": spoil}
    assert deliver(sites) == [("site-0", code)]
    assert sites.needs_encoder == {"site-0"}, "asked again at the next contact"
    assert [piece for piece in sites.pieces if piece[0] == "site-0"] == [("site-0", 0, 3)]
    assert sites.received["site-1"] == CONTENT


def test_a_reply_signed_by_another_site_is_not_believed(sites: Sites) -> None:
    sites.spoil = {"site-0": lambda reply: replace(sites.sign(reply, "site-1"), site="site-0")}
    assert deliver(sites) == [("site-0", "protocol.bad-signature")]


def test_a_site_must_hold_the_whole_file_after_the_last_piece_and_only_then(sites: Sites) -> None:
    def incomplete(reply: WeightsReply) -> WeightsReply:
        return sites.sign(replace(reply, is_complete=False), reply.site)

    sites.spoil = {"site-1": incomplete}
    assert deliver(sites) == [("site-1", "protocol.incomplete-weights")]
    assert [piece for piece in sites.pieces if piece[0] == "site-1"][-1] == ("site-1", 2, 3)
    assert sites.needs_encoder == {"site-1"}


def test_a_truly_signed_answer_to_another_piece_is_refused(sites: Sites) -> None:
    sites.spoil = {"site-0": lambda reply: sites.sign(replace(reply, index=2), "site-0")}
    assert deliver(sites) == [("site-0", "protocol.incomplete-weights")]


def test_silence_is_logged_by_its_code_and_the_site_waits(sites: Sites) -> None:
    sites.silent = {"site-1": "run.site-offline"}
    assert deliver(sites) == [("site-1", "run.site-offline")]
    assert sites.needs_encoder == {"site-1"}
