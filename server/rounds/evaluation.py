"""A validation of a release at the sites: ask, check, keep one result or one refusal per site.

Internal asks the training sites, external the external ones, prospective and description all; a
description measures no release, and so can be asked for before there is one. A site whose result is
kept is not asked again; a refusal is asked again when the stage is repeated. Each request carries the
site's last ledger head countersigned, and the head in each reply is the one for the next request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from server.federation.folder import Home
from server.rounds.exchange import Arrival, Exchange
from server.rounds.heads import countersign_heads
from server.rounds.replies import refusal_code, require_evaluation
from server.rounds.weights_delivery import deliver_encoder
from server.run.folder import Event, RunStore
from shared.contract.plan import Plan, RosterEntry
from shared.contract.protocol import EvaluateReply, EvaluateRequest, Refusal, Vector
from shared.contract.release import read_lock, read_release
from shared.errors import OsteoFedError, ProtocolError, RunError
from shared.measure.description.rows import description_spec
from shared.measure.table.rows import table_spec
from shared.signing.keys import SigningKey

Kind = Literal["internal", "external", "prospective", "description"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is measured: a release's weights [p], under a lock if prospective; nothing to describe."""

    release_sha256: str = ""
    weights: Vector
    lock_sha256: str = ""


def run_evaluation(exchange: Exchange, store: RunStore, kind: Kind, *, key: SigningKey) -> None:
    """Measure the run's release, or describe the patients, at the sites of a kind.

    Results lie in the run folder.

    Raises:
        PlanError: the plan releases no description.
        WeightsError: there is no release, or it is damaged.
        RunError: a required site gave neither result nor refusal.
    """
    asked = asked_of(store, kind)
    entries = sites_of(store.plan, kind)
    settled = {
        site
        for site, result in store.evaluations(kind).items()
        if result.get("release_sha256") == asked.release_sha256 and result["status"] == "measured"
    }
    waiting = [entry for entry in entries if entry.site not in settled]
    exchange.meet(waiting, wait_s=store.plan.settings.federation.liveness_s)
    if kind != "description":
        deliver_encoder(  # an external site has not trained, so it may not hold the encoder yet
            exchange, store, log=lambda site, code: store.log(Event(round=0, site=site, code=code))
        )
    requests = {
        site: EvaluateRequest(
            plan_sha256=store.plan.sha256,
            kind=kind,
            release_sha256=asked.release_sha256,
            weights=asked.weights,
            lock_sha256=asked.lock_sha256,
            ledger_head=head.ledger_head,
            countersignature=head.countersignature,
        )
        for site, head in countersign_heads(store, waiting, key=key).items()
    }
    silent = []
    for arrival in exchange.ask(requests, message_type=f"evaluate.{kind}", group=kind):
        code = keep_result(store, arrival, kind=kind, release_sha256=asked.release_sha256)
        if code:
            store.log(Event(round=0, site=arrival.site, code=code))
        if not arrival.has_answered and store.plan.entry(arrival.site).is_required:
            silent.append(arrival.site)
    if silent:
        raise RunError(
            "incomplete-validation",
            f"{kind} validation lacks an answer of required sites {silent}",
            hint="start the sites, then run the validation again; results so far are kept",
        )


def keep_result(store: RunStore, arrival: Arrival, *, kind: Kind, release_sha256: str) -> str:
    """Check one arrival and write it down; the code of a refusal, empty for a result."""
    reply: EvaluateReply | None = None
    code = arrival.code
    message = arrival.message
    if message is not None:
        try:
            if isinstance(message, Refusal):
                code = refusal_code(message, store.plan, site=arrival.site)
            elif isinstance(message, EvaluateReply):
                require_evaluation(
                    message,
                    store.plan,
                    site=arrival.site,
                    kind=kind,
                    release_sha256=release_sha256,
                    table_size=table_size(store.plan, kind),
                )
                reply = message
            else:
                raise ProtocolError("wrong-message", "an evaluation must be answered with a table")
        except OsteoFedError as error:
            code = error.code
    store.write_evaluation(reply, kind=kind, site=arrival.site, code=code)
    if reply is not None and reply.ledger_head:
        Home(store.home).record_heads({arrival.site: reply.ledger_head})
    return code


def asked_of(store: RunStore, kind: Kind) -> Asked:
    """What the sites are asked to measure.

    Raises:
        PlanError: the plan releases no description.
        WeightsError: there is no release, or it is damaged.
        RunError: the release was not locked.
    """
    if kind == "description":
        description_spec(store.plan.settings)
        return Asked(weights=np.zeros(0, dtype=np.float32))
    release = read_release(store.release_folder, coordinator_key=store.plan.coordinator_key)
    return Asked(
        release_sha256=release.sha256,
        weights=release.weights,
        lock_sha256=lock_hash(store) if kind == "prospective" else "",
    )


def table_size(plan: Plan, kind: Kind) -> int:
    """How many cells a table of this kind has."""
    if kind == "description":
        return description_spec(plan.settings).n_cells
    return table_spec(plan.settings).n_cells


def sites_of(plan: Plan, kind: Kind) -> tuple[RosterEntry, ...]:
    """Roster entries that take part in a kind of validation."""
    if kind in ("prospective", "description"):
        return plan.roster
    return plan.sites("training" if kind == "internal" else "external")


def lock_hash(store: RunStore) -> str:
    """Hash of the run's lock.

    Raises:
        RunError: the release was not locked.
    """
    if not store.lock_file.exists():
        raise RunError(
            "not-locked",
            "prospective validation needs a locked release",
            hint="run `osteofed-coordinator lock` first",
        )
    return read_lock(store.lock_file, coordinator_key=store.plan.coordinator_key).sha256
