"""The encoder's weights, sent to each site once, in pieces, and cached there by hash.

A site that already holds the file says so in its hello and is left alone. Imports protocol, exchange.
"""

from __future__ import annotations

from collections.abc import Callable

from server.rounds.exchange import Exchange
from server.rounds.replies import refusal_code, require_plan, require_signature, require_site
from server.run.folder import RunStore
from shared.contract.plan import Plan
from shared.contract.protocol import Refusal, WeightsChunk, WeightsReply
from shared.errors import OsteoFedError, ProtocolError

WEIGHTS = "query.weights"
CHUNK_BYTES = 4 << 20  # below Flower's own object limit, and a fair unit to send again


def deliver_encoder(exchange: Exchange, store: RunStore, *, log: Callable[[str, str], None]) -> None:
    """Send the plan's encoder to the sites that lack it; a site that fails is left out by hash later.

    Args:
        log: receives (site, code) of sites that did not take a piece.
    """
    plan = store.plan
    receivers = sorted(exchange.needs_encoder)
    if not plan.encoder_sha256 or not receivers:
        return
    n_chunks = max(1, -(-store.encoder_file.stat().st_size // CHUNK_BYTES))
    with store.encoder_file.open("rb") as stream:
        for index in range(n_chunks):
            chunk = WeightsChunk(
                plan_sha256=plan.sha256,
                file_sha256=plan.encoder_sha256,
                index=index,
                n_chunks=n_chunks,
                data=stream.read(CHUNK_BYTES),
            )
            for arrival in exchange.ask(
                dict.fromkeys(receivers, chunk), message_type=WEIGHTS, group=f"weights-{index}"
            ):
                code = arrival.code
                if isinstance(arrival.message, Refusal):
                    code = refusal_code(arrival.message, plan, site=arrival.site)
                elif arrival.message is not None:
                    try:
                        _require_stored(arrival.message, plan, arrival.site, chunk)
                    except OsteoFedError as error:
                        code = error.code
                if code:
                    log(arrival.site, code)
                    receivers.remove(arrival.site)
    exchange.needs_encoder -= set(receivers)


def _require_stored(reply: object, plan: Plan, site: str, chunk: WeightsChunk) -> None:
    if not isinstance(reply, WeightsReply):
        raise ProtocolError("wrong-message", "a piece of weights must be answered as such")
    require_plan(reply, plan)
    require_site(reply.site, site)
    require_signature(reply, plan, site)
    is_last = chunk.index == chunk.n_chunks - 1
    if reply.index != chunk.index or (is_last and not reply.is_complete):
        raise ProtocolError("incomplete-weights", f"{site} does not hold the whole encoder")
