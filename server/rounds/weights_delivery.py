"""The weights of encoders, sent to each site once, in pieces, and cached there by hash.

A site that already holds every file says so in its hello and is left alone; one that lacks some gets
the first piece of a file that it holds, and no further one. Imports protocol, exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from server.rounds.exchange import Exchange
from server.rounds.replies import refusal_code, require_plan, require_signature, require_site
from server.run.folder import RunStore
from shared.contract.plan import Plan
from shared.contract.protocol import Refusal, WeightsChunk, WeightsReply
from shared.errors import OsteoFedError, ProtocolError

WEIGHTS = "query.weights"
CHUNK_BYTES = 4 << 20  # below Flower's own object limit, and a fair unit to send again


def deliver_encoder(exchange: Exchange, store: RunStore, *, log: Callable[[str, str], None]) -> None:
    """Send the plan's encoders to the sites that lack one; a site that fails is left out by hash later.

    Args:
        log: receives (site, code) of sites that did not take a piece.
    """
    takers = sorted(exchange.needs_encoder)
    for sha256, path in store.encoders.items():
        receivers = list(takers)  # who holds this file says so at its first piece
        for chunk in _pieces(store.plan, sha256, path):
            if not receivers:
                break
            for arrival in exchange.ask(
                dict.fromkeys(receivers, chunk),
                message_type=WEIGHTS,
                group=f"weights-{sha256[:12]}-{chunk.index}",
            ):
                code = arrival.code
                if isinstance(arrival.message, Refusal):
                    code = refusal_code(arrival.message, store.plan, site=arrival.site)
                elif arrival.message is not None:
                    try:
                        if _require_stored(arrival.message, store.plan, arrival.site, chunk):
                            receivers.remove(arrival.site)
                    except OsteoFedError as error:
                        code = error.code
                if code:
                    log(arrival.site, code)
                    receivers.remove(arrival.site)
                    takers.remove(arrival.site)
    exchange.needs_encoder -= set(takers)


def _pieces(plan: Plan, sha256: str, path: Path) -> Iterator[WeightsChunk]:
    n_chunks = max(1, -(-path.stat().st_size // CHUNK_BYTES))
    with path.open("rb") as stream:
        for index in range(n_chunks):
            yield WeightsChunk(
                plan_sha256=plan.sha256,
                file_sha256=sha256,
                index=index,
                n_chunks=n_chunks,
                data=stream.read(CHUNK_BYTES),
            )


def _require_stored(reply: object, plan: Plan, site: str, chunk: WeightsChunk) -> bool:
    """Whether the site holds the whole file now."""
    if not isinstance(reply, WeightsReply):
        raise ProtocolError("wrong-message", "a piece of weights must be answered as such")
    require_plan(reply, plan)
    require_site(reply.site, site)
    require_signature(reply, plan, site)
    is_last = chunk.index == chunk.n_chunks - 1
    if reply.index != chunk.index or (is_last and not reply.is_complete):
        raise ProtocolError("incomplete-weights", f"{site} does not hold the whole encoder")
    return reply.is_complete
