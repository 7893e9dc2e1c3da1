"""What must hold whatever failed, read from ledgers, run folder and release after the last command.

No round lost; no site trained twice without a charge; no charge lost; no release without a signed
result of each required site. Each is looked for in the files of both sides, by the recount too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from chaos_federation import TRAIN, Federation

from client.gate.export import export_ledger
from client.gate.ledger import Ledger
from client.gate.outbox import Outbox
from client.site.folder import open_site
from server.rounds.replies import require_signature
from server.run.amendments import required_sites
from server.run.folder import RunStore, open_run
from server.run.stage_folder import RoundState
from shared.audit.recount.claims import recount_findings
from shared.audit.recount.evidence import gather_evidence
from shared.contract.vector_file import open_vectors
from shared.errors import OsteoFedError

RULES = {
    "rounds": "no round lost",
    "trained": "no site trained twice without a charge",
    "charges": "no charge lost",
    "release": "no release without a signed result of each required site",
    "recount": "nothing that the auditor's recount refutes",
}


def breaches(it: Federation) -> dict[str, list[str]]:
    """By rule, every sentence about how it is broken; nothing where it holds."""
    found = {
        "rounds": _lost_rounds(it),
        "trained": _trained_unpaid(it),
        "charges": _lost_charges(it),
        "release": _unsigned(it),
        "recount": _refuted(it),
    }
    return {rule: list(sentences) for rule, sentences in found.items()}


def _last_number(store: RunStore) -> int:
    folders = store.training.round_folder(0).parent.glob("[0-9]*")
    return max(int(each.name) for each in folders)


def readable_rounds(store: RunStore) -> list[RoundState]:
    """The committed rounds of a training, those apart that cannot be read."""
    found = []
    for number in range(1, _last_number(store) + 1):
        with suppress(OsteoFedError):
            found.append(store.training.committed(number))
    return found


def _lost_rounds(it: Federation) -> Iterator[str]:
    store = open_run(it.store.folder)
    last = _last_number(store)
    readable = {each.round for each in readable_rounds(store)}
    yield from (f"round {n} cannot be read" for n in range(1, last + 1) if n not in readable)
    if it.ended and it.ended[-1].code == "finished" and last < store.training.stage.rounds:
        yield f"it is called finished after round {last} of {store.training.stage.rounds}"
    told = {each.round for each in store.events() if each.code == "round-committed"}
    gone = sorted(number for number in told if number > last)
    if gone and (store.release_folder / "release.json").exists():
        yield f"rounds {gone} were committed and are there no more"


def _trained_unpaid(it: Federation) -> Iterator[str]:
    """Two totals of one site for one round, or two charges for one."""
    for site in it.sites:
        charges = Counter((row.stage, row.round) for row in it.charges(site))
        yield from (
            f"{site} has paid {n} times for round {number} of {stage}"
            for (stage, number), n in charges.items()
            if n > 1
        )
        answers = Counter(
            row.charge_index
            for row in it.rows(site)
            if row.kind == "outcome" and row.status == "released"
        )
        yield from (f"{site}: charge {index} paid for {n}" for index, n in answers.items() if n > 1)
    for path, totals in _totals(it).items():
        if len(totals) > 1:
            yield f"the coordinator holds {len(totals)} totals of {path}"


def _totals(it: Federation) -> dict[str, set[str]]:
    """Hashes of the accepted totals that the coordinator has kept, by stage, round and site."""
    found: dict[str, set[str]] = {}
    for path in sorted((it.store.folder / "replies").rglob("*")):
        if path.is_file() and path.name.endswith((".safetensors", ".aside")):
            text = open_vectors(path).text
            if text.get("total_sha256"):
                place = (
                    f"{path.parent.parent.name} {int(path.parent.name)} {path.name.partition('.')[0]}"
                )
                found.setdefault(place, set()).add(text["total_sha256"])
    return found


def _lost_charges(it: Federation) -> Iterator[str]:
    """A ledger that does not hold, or a contribution that no released charge stands behind."""
    for site, folder in it.sites.items():
        own = open_site(folder)
        try:
            Ledger(own.folder / "ledger", site=site, key=own.key, clock=own.clock).verify()
        except OsteoFedError as error:
            yield f"{site}: {error.code}"
    for each in readable_rounds(open_run(it.store.folder)):
        for part in each.contributions:
            rows = it.rows(part.site)
            outcome = next((row for row in rows if row.sha256 == part.ledger_head), None)
            charge = None if outcome is None else rows[outcome.charge_index or 0]
            paid = charge is not None and (charge.kind, charge.stage, charge.round)
            if paid != ("charge", TRAIN, each.round):
                yield f"round {each.round}: no charge of {part.site} stands behind its part"


def _unsigned(it: Federation) -> Iterator[str]:
    store = open_run(it.store.folder)
    if not (store.release_folder / "release.json").exists():
        return
    stage, number = store.training.stage, store.training.stage.rounds
    accepted = store.training.journal(0).read(number).accepted
    counted = {
        part.site
        for each in readable_rounds(store)
        for part in each.contributions
        if each.round == number
    }
    for site in required_sites(store, stage):
        if site not in counted or site not in accepted:
            yield f"{site} has no part in the last round"
            continue
        try:
            require_signature(accepted[site].reply, store.plan, site)
        except OsteoFedError as error:
            yield f"{site}: {error.code}"


def _refuted(it: Federation) -> Iterator[str]:
    handed = it.folder / "handed"
    handed.mkdir(exist_ok=True)
    ledgers, outboxes = [], {}
    for site, folder in it.sites.items():
        if not it.charges(site):  # it has no part in this run
            continue
        own = open_site(folder)
        ledger = Ledger(own.folder / "ledger", site=site, key=own.key, clock=own.clock)
        ledgers.append(handed / f"{site}-ledger.json")
        export_ledger(own, ledger, ledgers[-1])
        outboxes[site] = _outbox(own.folder, handed / f"{site}-outbox.json")
    store = open_run(it.store.folder)
    evidence = gather_evidence(store.plan, ledgers=ledgers, outboxes=outboxes, run_folder=store.folder)
    findings = recount_findings(store.plan, evidence)
    yield from (f"{each.site}: {each.because}" for each in findings if each.verdict == "fail")


def _outbox(folder: Path, path: Path) -> Path:
    departures = Outbox(folder / "outbox", folder / "replies").show()
    path.write_text(json.dumps([asdict(each) for each in departures]))
    return path
