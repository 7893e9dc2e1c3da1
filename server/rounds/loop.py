"""A stage of a run, on one page: hello, encoder, then round after round until the plan's last.

A round asks every site of the stage, journals what arrives, and advances the state with the accepted
totals in roster order. A missing or rejected total is one missing total with a reason; the weights of
the sites present are renormalised. A round needs enough sites (``server.rounds.enough``). Below that
the run stops and can be resumed: journalled replies count again, the other sites are asked again, and
with noise off the result equals the uninterrupted run bit for bit. A stage that measures a release, or
describes the patients, has one round and changes nothing: a site's result is kept, refusals are asked
again when the stage is repeated. A stage ends complete or not at all (``server.run.complete``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from server.federation.folder import Home
from server.rounds.asked_state import AskedState, asked_state_of
from server.rounds.exchange import Arrival, Exchange
from server.rounds.heads import countersign_heads, require_newest_home
from server.rounds.play import Play, admit, bytes_of_round, require_enough
from server.rounds.replies import MEASURED, ReplyCheck, refusal_code
from server.rounds.weights_delivery import deliver_encoder
from server.run.complete import require_complete
from server.run.events import CHARGED_AGAIN
from server.run.folder import RunStore
from server.run.journal import Journal, JournalledReply
from server.run.room import give_reserve, keep_reserve, require_room, told_if_full
from server.run.stage_folder import Contribution, RoundState
from server.run.stopped import require_not_stopped
from shared.contract.protocol import Refusal, SumReply, SumRequest, Vector, vector_sha256
from shared.contract.stages import GradientStage, TrainingStage
from shared.errors import OsteoFedError, ProtocolError
from shared.privacy.ledger_format import LedgerHead
from shared.signing.keys import SigningKey
from shared.stages.kinds import sum_of
from shared.stages.stage_sum import StageState
from shared.train.aggregate import renormalised, tail_average

TRAIN = "train"  # Flower's type of every message that asks for a sum


def run_stage(exchange: Exchange, store: RunStore, name: str, *, key: SigningKey) -> None:
    """Play one stage to its end; what came of it lies in the run folder.

    Raises:
        PlanError: the plan has no such stage.
        WeightsError: the release that is to be measured does not exist, or is damaged.
        RunError: too few sites, no result of a required site, or the run is paused; all resumable. It
            was stopped for good; this is not.
    """
    folder = store.stage(name)
    file = store.encoder_file if store.plan.encoder_sha256 else None
    asked = sum_of(store.plan, folder.stage, encoder_file=file)
    play = Play(exchange, store, folder, asked, key)
    if isinstance(folder.stage, TrainingStage):
        run_rounds(play)
    else:
        measure(play)
    require_complete(store, folder.stage)


def run_rounds(play: Play) -> Vector:
    """Train from the last committed round to the plan's last; return the last state [d].

    Of gradients the last state is the tail average of the weights; a learner's is what it says.

    Raises:
        RunError: as ``run_stage``.
    """
    stage, store = play.stage, play.store
    reached, wait_s = play.folder.last_committed(), store.plan.settings.patience.liveness_s
    while reached.round < stage.rounds:
        require_not_stopped(store)
        store.require_not_paused()
        n_bytes, number = bytes_of_round(play, reached), reached.round + 1
        set_torn_aside(play, play.folder.journal(play.asked.bound(number).length), number)
        require_room(store, n_bytes, number=number)
        keep_reserve(store)
        admit(play, number, wait_s=wait_s)
        wait_s = 0.0  # later rounds take who is there
        if reached.round == 0:
            play.log(0, "", "training-begun")
        with told_if_full(store, n_bytes, number=number):
            reached = play_round(play, reached.state)
            play.folder.commit(reached)
        play.log(reached.round, "", "round-committed")
    give_reserve(store)
    n_tail = stage.strategy.n_averaged(reached.round) if isinstance(stage, GradientStage) else 1
    tail = range(reached.round - n_tail + 1, reached.round + 1)
    averaged = tail_average([play.folder.committed_vector(number) for number in tail])
    store.write_averaged(averaged)
    return averaged


def play_round(play: Play, state: StageState) -> RoundState:
    """The stage after its next round."""
    number = state.round + 1
    check = check_for(play, number, AskedState(vector=state.vector))
    journal = play.folder.journal(play.asked.bound(number).length)
    missing = gather(play, journal, check, requests_for(play, number, AskedState(vector=state.vector)))
    require_not_stopped(play.store)  # then nobody was waited for
    accepted = journal.read(number).accepted
    require_enough(play, journal, number, present=set(accepted), missing=missing)
    present = [play.store.plan.entry(site) for site in accepted]
    advanced = play.asked.advance(
        state, [entry.reply.total for entry in accepted.values()], sites=present
    )
    record_heads(play, accepted)
    shares = renormalised([entry.weight for entry in present])
    contributions = tuple(
        Contribution(
            site=site,
            weight=share,
            total_sha256=entry.total_sha256,
            ledger_head=entry.reply.ledger_head,
        )
        for (site, entry), share in zip(accepted.items(), shares, strict=True)
    )
    return RoundState(state=advanced, contributions=contributions, missing=missing)


def measure(play: Play) -> None:
    """Ask the sites of a stage that measures or describes; keep one result or refusal of each."""
    about, store = asked_state_of(play.store, play.stage), play.store
    journal = play.folder.journal(play.asked.bound(1).length)
    check = check_for(play, 1, about)
    set_torn_aside(play, journal, 1)
    journal.set_aside(1, unless=lambda reply: is_settled(reply, about))
    waiting = [entry for entry in play.entries if entry.site not in journal.read(1).accepted]
    out = play.left_out
    greeted = [entry for entry in waiting if entry.site not in out]
    play.exchange.meet(greeted, wait_s=store.plan.settings.patience.liveness_s)
    require_newest_home(store, play.exchange.countersigned)
    if about.release_sha256:  # an external site has not trained, so it may not hold the encoder yet
        deliver_encoder(play.exchange, store, log=lambda site, code: play.log(0, site, code))
    requests = requests_for(play, 1, about)
    keep_reserve(store)
    with told_if_full(store, 0, number=1):
        for arrival in ask(play, 1, {entry.site: requests[entry.site] for entry in waiting}):
            code = journal_arrival(journal, check, arrival)
            log_arrival(play, 0, arrival, code)
            if not arrival.has_answered:
                journal.reject(1, None, site=arrival.site, code=code)
        record_heads(play, journal.read(1).accepted)
    give_reserve(store)
    require_not_stopped(store)


def set_torn_aside(play: Play, journal: Journal, number: int) -> None:
    """Count answers of an open round that a power cut tore as not there; each is told as an event."""
    for site in journal.set_torn_aside(number):
        play.log(number, site, "run.torn-reply")


def is_settled(reply: SumReply, about: AskedState) -> bool:
    """Whether a site's answer stands: it measured what is asked about now."""
    return reply.status == MEASURED and reply.release_sha256 == about.release_sha256


def gather(
    play: Play, journal: Journal, check: ReplyCheck, requests: Mapping[str, SumRequest]
) -> dict[str, str]:
    """Journal one answer per site that is not journalled yet; return the reasons of missing totals."""
    so_far = journal.read(check.round)
    for site, entry in so_far.accepted.items():
        check.require(entry.reply, site=site)
    missing = dict(so_far.rejected)
    asked = {
        site: request
        for site, request in requests.items()
        if site not in so_far.accepted and site not in missing
    }
    for arrival in ask(play, check.round, asked):
        code = journal_arrival(journal, check, arrival)
        if code:
            missing[arrival.site] = code
        log_arrival(play, check.round, arrival, code)
    return missing


def ask(play: Play, number: int, requests: Mapping[str, SumRequest]) -> Iterator[Arrival]:
    """What arrives of a round's requests; one reply is held at a time. Who is left out is not asked."""
    out = play.left_out
    yield from (Arrival(site, code=out[site]) for site in requests if site in out)
    asked = {site: request for site, request in requests.items() if site not in out}
    group = f"{play.stage.name}-{number}"
    yield from play.exchange.ask(asked, message_type=TRAIN, group=group, left_out=lambda: play.left_out)


def record_heads(play: Play, accepted: Mapping[str, JournalledReply]) -> None:
    """Remember where the ledgers of the sites that answered stand."""
    home = Home(play.store.home)
    ledgers = home.ledgers_of(play.store.keys)
    home.record_heads(
        {
            ledgers[site]: LedgerHead(index=entry.reply.ledger_index, sha256=entry.reply.ledger_head)
            for site, entry in accepted.items()
        }
    )


def journal_arrival(journal: Journal, check: ReplyCheck, arrival: Arrival) -> str:
    """Check one arrival and write it down; the code of why it is no total, empty if it is one."""
    if not arrival.has_answered:
        return arrival.code
    reply: SumReply | None = None
    message, code = arrival.message, arrival.code
    try:
        if isinstance(message, Refusal):
            code = refusal_code(message, check.plan, site=arrival.site)
        elif isinstance(message, SumReply):
            reply = message
            total_sha256 = check.require(reply, site=arrival.site)
            journal.accept(check.round, reply, site=arrival.site, total_sha256=total_sha256)
            return ""
        elif message is not None:
            raise ProtocolError("wrong-message", "a request for a sum must be answered with a total")
    except OsteoFedError as error:
        code = error.code
    journal.reject(check.round, reply, site=arrival.site, code=code)
    return code


def log_arrival(play: Play, number: int, arrival: Arrival, code: str) -> None:
    """Events of an arrival: why it is no total, or that its site has charged for it more than once."""
    if code:
        play.log(number, arrival.site, code)
    elif isinstance(arrival.message, SumReply) and arrival.message.charges > 1:
        play.log(number, arrival.site, CHARGED_AGAIN)


def check_for(play: Play, number: int, about: AskedState) -> ReplyCheck:
    """What every total of a round must be."""
    return ReplyCheck(
        plan=play.store.plan,
        stage=play.stage,
        asked=play.asked,
        round=number,
        vector_sha256=vector_sha256(about.vector),
        release_sha256=about.release_sha256,
    )


def requests_for(play: Play, number: int, about: AskedState) -> dict[str, SumRequest]:
    """One request per site: the same state, its own countersigned ledger head."""
    heads = countersign_heads(play.store, play.entries, key=play.key)
    return {
        site: SumRequest(
            plan_sha256=play.store.plan.sha256,
            stage=play.stage.name,
            round=number,
            vector=about.vector,
            release_sha256=about.release_sha256,
            lock_sha256=about.lock_sha256,
            ledger_head=head.ledger_head,
            countersignature=head.countersignature,
        )
        for site, head in heads.items()
    }
