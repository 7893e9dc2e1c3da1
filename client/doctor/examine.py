"""``osteofed-site doctor``: is this hospital able to take part, and if not, what to do about it.

Looks and changes nothing: no charge, no key, no file. Three areas: the machine, the site's folder, the
way to the coordinator. The container's health check is the quick form: it imports no torch, reads no
cohort, and fails for nothing that a working container cannot help.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

from client.doctor.connection import Coordinator, look_at_connection
from client.doctor.line import Line, attention, not_checked, observe, ok, problem
from client.doctor.machine import look_at_machine
from client.site.folder import Site, open_site
from shared.errors import OsteoFedError
from shared.privacy.ledger_format import KEPT, RELEASED, LedgerRow
from shared.signing.code_hash import installed_code_hash

Area = Literal["machine", "site", "connection"]
AREAS: tuple[Area, ...] = ("machine", "site", "connection")
# File in the site's folder → what is lost with it.
SECRETS = {
    "keys/signing.pem": "nothing of this site can be signed",
    "keys/pseudonym.key": "every patient becomes a new one, and no identity can be found again",
    "keys/node.key": "Flower does not let this site in",
}
# Made by the first intake and the first charge; whether one is gone is said by a line of its own.
_LATER = ("linkage/linkage.bin", "ledger/ledger.jsonl")


def examine(
    folder: Path,
    coordinator: Coordinator,
    *,
    is_quick: bool = False,
    areas: Sequence[Area] = AREAS,
) -> list[Line]:
    """What there is to say about a site, in the order of ``AREAS``.

    Args:
        folder: the site's folder.
        coordinator: where its server is.
        is_quick: for a health check every minute: neither torch nor decoders, no full check of ledger
            and cohorts; little memory, or a plan for other code, is noted and no problem.
        areas: which of them.
    """
    lines: list[Line] = []
    if "machine" in areas:
        lines += look_at_machine(folder, is_quick=is_quick)
    if "site" in areas:
        lines += look_at_site(folder, is_quick=is_quick)
    if "connection" in areas:
        lines += look_at_connection(coordinator)
    return lines


def is_well(lines: Sequence[Line]) -> bool:
    """Whether nothing stops this site from taking part."""
    return all(line.state != "problem" for line in lines)


def look_at_site(folder: Path, *, is_quick: bool) -> list[Line]:
    """Lines about the site's folder: identity, keys, budgets, films, cohorts, approval."""
    try:
        site = open_site(folder)
    except OsteoFedError as error:
        return [problem("site", f"{error.code}: {error.fact}", error.hint)]
    lines = observe("site", lambda: _joined(site))
    lines += observe("keys", lambda: _keys(site))
    lines += observe("policy", lambda: _policy(site))
    lines += observe("ledger", lambda: _ledger(site, is_quick=is_quick))
    lines += observe("linkage", lambda: _linkage(site))
    lines += observe("fetched films", lambda: _fetched(site))
    lines += _cohorts(site, is_quick=is_quick)
    if site.settings.coordinator_key is not None:
        lines += observe("approval", lambda: _approval(site))
    return lines


def _joined(site: Site) -> Line:
    if site.settings.coordinator_key is None:
        return problem("site", f"{site.name} has not joined", "`osteofed-site join ENROLMENT.json`")
    return ok("site", f"{site.name}, coordinator key {site.coordinator_key[:12]}")


def _keys(site: Site) -> list[Line]:
    lines = []
    for name in (*SECRETS, *_LATER):
        path = site.folder / name
        if not path.exists():
            if name == "keys/node.key":
                remedy = "right where another container or machine connects for this site"
                lines.append(not_checked("keys", f"{name} is not here", remedy))
            elif name in SECRETS:
                fact = f"{name} is missing: {SECRETS[name]}"
                lines.append(problem("keys", fact, "restore it from backup"))
            continue
        if path.stat().st_mode & 0o077:
            lines.append(problem("keys", f"{name} is open to others", f"chmod 600 {path}"))
        if not os.access(path, os.R_OK):
            lines.append(problem("keys", f"{name} cannot be read", f"chown it to user {os.geteuid()}"))
    if site.folder.stat().st_mode & 0o002:
        lines.append(problem("keys", "everybody may write into the folder", f"chmod o-w {site.folder}"))
    lines += _open_to_others(site)
    if any(line.state == "problem" for line in lines):
        return lines
    own, _ = site.key.public_hex, site.pseudonyms  # both are really loaded
    return [*lines, ok("keys", f"signing key {own[:12]}, closed to others")]


def _open_to_others(site: Site) -> list[Line]:
    """Folders with people in them that other users of this machine may look into."""
    drawn = [site.readings, *site.readings.glob("*.png")]
    is_drawn_open = any(path.exists() and path.stat().st_mode & 0o077 for path in drawn)
    is_open = {
        "the site's folder": (site.folder.stat().st_mode & 0o077, f"chmod 700 {site.folder}"),
        "readings": (is_drawn_open, f"chmod -R go= {site.readings}"),
    }
    return [
        attention("keys", f"{name} can be read by other users of this machine", remedy)
        for name, (is_seen, remedy) in is_open.items()
        if is_seen
    ]


def _policy(site: Site) -> Line:
    policy = site.policy
    caps = f"epsilon {policy.epsilon_per_run:g} a run, {policy.epsilon_lifetime:g} for life"
    widened = [
        word
        for word, is_allowed in (
            ("exact numbers (governed)", policy.allows_governed),
            ("training without noise", policy.allows_privacy_off),
        )
        if is_allowed
    ]
    if widened:
        return attention("policy", f"{caps}; allows {' and '.join(widened)}", "is that meant so?")
    return ok("policy", caps)


def _ledger(site: Site, *, is_quick: bool) -> list[Line]:
    from client.gate.ledger import find_ledger

    ledger = find_ledger(site)
    if ledger is None:
        return [ok("ledger", "nothing was ever charged")]
    if not is_quick:
        ledger.verify()
    rows = ledger.show()
    budget = ledger.budget_of_everybody(allowance=site.policy.allowance)
    fact = f"{len(rows)} rows, intact; the dearest patient has epsilon {budget.epsilon_left:.2f} left"
    state = (
        ok("ledger", fact)
        if budget.epsilon_left > 0
        else attention("ledger", fact, "who has nothing left can be in no further run")
    )
    countersigned = {entry.head_sha256 for entry in ledger.countersignatures()}
    return [state, _last_round(rows, countersigned)]


def _last_round(rows: Sequence[LedgerRow], countersigned: set[str]) -> Line:
    """The last round whose update left, and whether the coordinator has countersigned it."""
    left = [
        row for row in rows if (row.kind, row.purpose) == ("outcome", "train") and row.status != KEPT
    ]
    released = [row for row in left if row.status == RELEASED]
    if not released:
        return ok("last round", "none yet")
    last = released[-1]
    is_accepted = any(row.index >= last.index and row.sha256 in countersigned for row in rows)
    word = "accepted" if is_accepted else "sent, and not countersigned yet"
    fact = f"round {last.round} of {last.run}, {last.utc[:16].replace('T', ' ')} UTC, {word}"
    if left[-1] is not last:
        failed = left[-1]
        return attention(
            "last round",
            f"{fact}; round {failed.round} of {failed.run} ended with {failed.status}",
            "its full text is in log/refusals.jsonl of the site's folder",
        )
    return ok("last round", fact)


def _linkage(site: Site) -> Line:
    site.linkage  # noqa: B018 - really opened
    if (site.folder / "linkage" / "linkage.bin").exists():
        return ok("linkage", "identities and withdrawals open with this site's key")
    return ok("linkage", "nobody was ever taken in")


def _cohorts(site: Site, *, is_quick: bool) -> list[Line]:
    names = sorted(path.name for path in site.cohorts.glob("*") if path.is_dir())
    if not names:
        return [not_checked("cohorts", "none was ingested yet", "`osteofed-site ingest SOURCE`")]
    lines: list[Line] = []
    for name in names:
        lines += observe(f"cohort {name}", partial(_cohort, site, name, is_quick=is_quick))
    return lines


def _cohort(site: Site, name: str, *, is_quick: bool) -> Line:
    """The newest version of a cohort; every version is opened and hashed unless it must be quick."""
    from client.cohort.folder import cohort_folder, latest_version
    from client.cohort.versions import patients_of

    title, newest = f"cohort {name}", latest_version(site.cohorts, name)
    if newest == 0:
        remedy = "`osteofed-site ingest` again: the last intake was refused or cut off"
        return attention(title, "no version was frozen yet", remedy)
    if is_quick:
        return ok(title, f"v{newest}")
    for number in range(1, newest + 1):
        patients_of(cohort_folder(site.cohorts, name, number))  # opened and hashed
    return ok(title, f"v{newest}; every version is as it was frozen")


def _fetched(site: Site) -> list[Line]:
    """Films of an archive lie here, with names in them, only until their cohort is frozen."""
    n_films = sum(1 for _ in site.staging.glob("*/*/*.dcm"))
    if not n_films:
        return []
    fact = f"{n_films} films of an intake that was cut off or refused lie in staging, naming people"
    return [attention("fetched films", fact, "ingest again, which deletes them, or delete the folder")]


def _approval(site: Site) -> Line:
    """The plan approved last, and whether the code installed here is the one it was written for."""
    plan = site.approvals.last_approved(other_than="")
    if plan is None:
        return not_checked("approval", "no plan is approved", "`osteofed-site approve PLAN.json`")
    if plan.code_sha256 != installed_code_hash():
        return attention(
            "approval",
            f"run {plan.run} was planned for code {plan.code_sha256[:12]}, "
            f"installed is {installed_code_hash()[:12]}",
            "nothing if that run is over; else install the coordinator's release, or get a new plan",
        )
    return ok("approval", f"run {plan.run}, plan {plan.sha256[:12]}, code is the installed one")


def lines_as_json(lines: Sequence[Line]) -> dict[str, object]:
    """For programs: verdict and lines."""
    verdict = "ok" if is_well(lines) else "problem"
    return {"verdict": verdict, "lines": [asdict(line) for line in lines]}
