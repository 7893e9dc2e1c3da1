"""A run, on one page: hello, encoder, then round after round until the tail average.

A round asks every participant, journals what arrives, and folds the accepted updates in roster order.
A missing or rejected update is one missing update with a reason; the weights of the sites present are
renormalised. Round 1 needs every required site, so that each has taken part in what is released;
later rounds need the quorum, a share of the training sites. Below it the run stops and can be resumed:
journalled replies count again, the other sites are asked again, and with noise off the result equals
the uninterrupted run bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from server.federation.folder import Home
from server.rounds.exchange import Arrival, Exchange
from server.rounds.heads import countersign_heads
from server.rounds.replies import RoundCheck, refusal_code
from server.rounds.weights_delivery import deliver_encoder
from server.run.folder import Contribution, Event, RoundState, RunStore
from server.run.journal import Journal
from shared.contract.plan import Plan
from shared.contract.protocol import (
    Refusal,
    TrainReply,
    TrainRequest,
    Vector,
    vector_sha256,
)
from shared.errors import OsteoFedError, ProtocolError, RunError
from shared.signing.keys import SigningKey
from shared.train.aggregate import next_weights, renormalised, tail_average

TRAIN = "train"


def run_rounds(exchange: Exchange, store: RunStore, *, key: SigningKey) -> Vector:
    """Train from the last committed round to the plan's last; return the tail average [p].

    Raises:
        RunError: a required site is absent, the quorum is missed, or the run is paused; all resumable.
    """
    settings = store.plan.settings
    admit(exchange, store, wait_s=settings.federation.liveness_s)
    state = store.last_committed()
    while state.round < rounds_of(store.plan):
        store.require_not_paused()
        admit(exchange, store, wait_s=0)
        state = play_round(exchange, store, state, key=key)
        store.commit(state)
        store.log(Event(round=state.round, site="", code="round-committed"))
    n_tail = settings.strategy.n_averaged(state.round)
    tail = range(state.round - n_tail + 1, state.round + 1)
    averaged = tail_average([store.committed_weights(number) for number in tail])
    store.write_averaged(averaged)
    return averaged


def play_round(
    exchange: Exchange, store: RunStore, state: RoundState, *, key: SigningKey
) -> RoundState:
    """The state after the next round."""
    number = state.round + 1
    check = RoundCheck(
        plan=store.plan,
        round=number,
        weights_sha256=vector_sha256(state.weights),
        n_parameters=state.weights.size,
    )
    journal = store.journal(state.weights.size)
    missing = gather(exchange, store, journal, check, train_requests(store, state, number, key=key))
    accepted = journal.read(number).accepted
    require_enough(store, journal, number, present=set(accepted))
    shares = renormalised([store.plan.entry(site).weight for site in accepted])
    weights, memory = next_weights(
        state.weights,
        [entry.reply.update for entry in accepted.values()],
        shares=shares,
        memory=state.memory,
        strategy=store.plan.settings.strategy,
    )
    Home(store.home).record_heads({site: entry.reply.ledger_head for site, entry in accepted.items()})
    contributions = tuple(
        Contribution(
            site=site,
            weight=share,
            update_sha256=entry.update_sha256,
            ledger_head=entry.reply.ledger_head,
        )
        for (site, entry), share in zip(accepted.items(), shares, strict=True)
    )
    return RoundState(
        round=number, weights=weights, memory=memory, contributions=contributions, missing=missing
    )


def gather(
    exchange: Exchange,
    store: RunStore,
    journal: Journal,
    check: RoundCheck,
    requests: Mapping[str, TrainRequest],
) -> dict[str, str]:
    """Journal one answer per site that is not journalled yet; return the reasons of missing updates."""
    so_far = journal.read(check.round)
    for site, entry in so_far.accepted.items():
        check.require(entry.reply, site=site)
    missing = dict(so_far.rejected)
    asked = {
        site: request
        for site, request in requests.items()
        if site not in so_far.accepted and site not in missing
    }
    for arrival in exchange.ask(asked, message_type=TRAIN, group=str(check.round)):
        code = journal_arrival(journal, check, arrival)
        if code:
            missing[arrival.site] = code
            store.log(Event(round=check.round, site=arrival.site, code=code))
    return missing


def journal_arrival(journal: Journal, check: RoundCheck, arrival: Arrival) -> str:
    """Check one arrival and write it down; the code of why it is no update, empty if it is one."""
    if not arrival.has_answered:
        return arrival.code
    reply: TrainReply | None = None
    message, code = arrival.message, arrival.code
    try:
        if isinstance(message, Refusal):
            code = refusal_code(message, check.plan, site=arrival.site)
        elif isinstance(message, TrainReply):
            reply = message
            update_sha256 = check.require(reply, site=arrival.site)
            journal.accept(check.round, reply, site=arrival.site, update_sha256=update_sha256)
            return ""
        elif message is not None:
            raise ProtocolError("wrong-message", "a train request must be answered with an update")
    except OsteoFedError as error:
        code = error.code
    journal.reject(check.round, reply, site=arrival.site, code=code)
    return code


def train_requests(
    store: RunStore, state: RoundState, number: int, *, key: SigningKey
) -> dict[str, TrainRequest]:
    """One request per training site: the same weights, its own countersigned ledger head."""
    heads = countersign_heads(store, store.plan.sites("training"), key=key)
    return {
        site: TrainRequest(
            plan_sha256=store.plan.sha256,
            round=number,
            weights=state.weights,
            ledger_head=head.ledger_head,
            countersignature=head.countersignature,
        )
        for site, head in heads.items()
    }


def admit(exchange: Exchange, store: RunStore, *, wait_s: float) -> None:
    """Find sites that are not met yet and give them the encoder.

    Raises:
        RunError: after waiting, a required site is absent.
    """
    number = store.last_committed().round + 1
    entries = store.plan.sites("training")
    exchange.meet(entries, wait_s=wait_s)
    absent = [entry.site for entry in entries if entry.is_required and entry.site not in exchange.sites]
    if wait_s > 0 and absent:
        raise RunError(
            "site-absent",
            f"required sites {absent} did not say hello within {wait_s:g} s",
            hint="see events.jsonl for the reason; start the sites, then `resume`",
        )
    deliver_encoder(
        exchange, store, log=lambda site, code: store.log(Event(round=number, site=site, code=code))
    )


def require_enough(store: RunStore, journal: Journal, number: int, *, present: set[str]) -> None:
    """Stop, resumably, when too few updates are there.

    Raises:
        RunError: below the quorum, or in round 1 without a required site.
    """
    entries = store.plan.sites("training")
    needed = math.ceil(store.plan.settings.federation.quorum * len(entries))
    absent = [entry.site for entry in entries if entry.is_required and entry.site not in present]
    if len(present) >= needed and not (number == 1 and absent):
        return
    journal.set_rejected_aside(number)
    store.log(Event(round=number, site="", code="run.quorum-missed"))
    reason = f"{len(present)} of at least {needed} updates arrived"
    if number == 1 and absent:
        reason += f"; required sites {absent} are missing in the first round"
    raise RunError(
        "quorum-missed",
        f"round {number} stopped: {reason}",
        hint="`osteofed-coordinator status` shows the reasons; then `osteofed-coordinator resume`",
    )


def rounds_of(plan: Plan) -> int:
    """How many rounds the plan has.

    Raises:
        RunError: the plan was written without them.
    """
    rounds = plan.settings.federation.rounds
    if rounds is None:
        raise RunError("no-rounds", "the plan has no number of rounds", hint="write the plan again")
    return rounds
