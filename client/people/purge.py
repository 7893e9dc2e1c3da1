"""A project ends: patients' data is deleted, what proves the past is kept, and a record is signed.

Kept is what makes budgets and statements checkable later: the ledger and its member lists (keyed
pseudonyms), plans, approvals, outbox, keys. The pseudonym key stays too: without it everybody would
come back as somebody new with a fresh budget. Anything this program did not write is left and named.
Deleting does not reach backups, snapshots or what a disk still holds: the record says so.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.cohort.folder import stored_fingerprint
from client.gate.ledger import find_ledger
from client.people.identity import IDENTITY_LOG
from client.site.folder import Site, require_person
from shared.errors import IntakeError
from shared.machine.files import write_atomic
from shared.signing.canonical import canonical_json
from shared.signing.keys import verify

PURGE_VERSION = 1
RECORDS = "purges"
_BEGUN = "begun.json"

# Entry of the site's folder → why it goes, or why it stays.
DELETED: Mapping[str, str] = {
    "cohorts": "films, clinical values and labels of patients",
    "cache": "tokens of films, encoders, Flower's files",
    "pages": "plots and films of cohorts",
    "replies": "stored copies of updates and tables that have left",
    "staging": "films fetched from the archive",
    "readings": "films and heat maps of exams that were read with a release",
    "log": "error texts, which may name patients",
}
KEPT: Mapping[str, str] = {
    "site.yaml": "who the site is",
    "policy.yaml": "what the hospital allowed",
    "join-request.json": "how the site joined",
    "keys": "signatures and pseudonyms stay verifiable, budgets stay bound to people",
    "linkage": "withdrawals; identities and file names in it are erased",
    "ledger": "every charge and the member lists it binds",
    "ledger-witness.json": "vouches for the ledger",
    "rotations": "replaced signing keys",
    "plans": "what was asked",
    "approvals": "who allowed it",
    "offline": "plans of releases that were measured with no connection, and who allowed them",
    "locks": "what was frozen before it was measured",
    "outbox": "what has left",
    "audit": "canaries for an auditor; no patient is in them",
    RECORDS: "records like this one",
}
_KNOWN = {*DELETED, *KEPT}
_KEPT_LOG = f"{IDENTITY_LOG}: who looked somebody up, and when, by pseudonym"
CAVEAT = (
    "Copies outside this folder (backups, snapshots, exports, films given to readers) are not reached, "
    "and updates that have left cannot be recalled."
)


@dataclass(frozen=True, kw_only=True)
class Purge:
    """What became of a site's folder.

    ``deleted``: what was there and has gone. ``left``: what a person has to look after: entries that
    this program knows nothing of, what links led to, and mount points, which stay behind empty.
    """

    record: Path
    cohorts: tuple[str, ...]
    deleted: tuple[str, ...]
    kept: tuple[str, ...]
    left: tuple[str, ...]


def purge(site: Site, *, by: str) -> Purge:
    """Delete patients' data of a site for good and write a signed record; repeatable after a crash.

    Of a link the link is deleted, never what it leads to: that may not be this site's.

    Args:
        site: the opened site.
        by: first and last name of the person who decides it.

    Raises:
        PolicyError: nobody is named as deciding.
        LedgerError: the ledger is damaged or gone: nothing is deleted before it can be relied on.
        IntakeError: the linkage file is gone, with the names of those who withdrew.
    """
    require_person(by)
    ledger, linkage = find_ledger(site), site.linkage
    head = ledger.verify().sha256 if ledger else ""
    begun = site.folder / RECORDS / _BEGUN
    before = json.loads(begun.read_bytes()) if begun.exists() else {}
    found = {kind: now | before.get(kind, {}) for kind, now in _inventory(site).items()}
    write_atomic(begun, canonical_json(found), mode=0o600)
    with linkage.held():
        linkage.forget_everybody()
        mount_points = [
            mount
            for name in DELETED
            for mount in _delete(site.folder / name, site.folder / IDENTITY_LOG)
        ]
    now, cohorts = site.clock(), found["cohorts"]
    done = Purge(
        record=site.folder / RECORDS / f"{now:%Y%m%dT%H%M%SZ}.json",
        cohorts=tuple(f"{name} {sha256}" for name, sha256 in cohorts.items()),
        deleted=tuple(f"{name}: {why}" for name, why in DELETED.items() if name in found["deleted"]),
        kept=_kept(site.folder),
        left=(
            *(path.name for path in sorted(site.folder.iterdir()) if path.name not in _KNOWN),
            *(
                f"{link} -> {target}: only the link is deleted"
                for link, target in found["links"].items()
            ),
            *(f"{path.relative_to(site.folder)}: a mount point, empty" for path in mount_points),
        ),
    )
    content: dict[str, object] = {
        "version": PURGE_VERSION,
        "site": site.name,
        "by": by,
        "utc": now.isoformat(),
        "cohorts": cohorts,
        "deleted": list(done.deleted),
        "kept": list(done.kept),
        "left": list(done.left),
        "ledger_head": head,
        "public_key": site.key.public_hex,
        "caveat": CAVEAT,
    }
    signed = content | {"signature": site.key.sign(canonical_json(content))}
    write_atomic(done.record, json.dumps(signed, indent=1).encode())
    begun.unlink()
    return done


def read_purge(path: Path, *, site_key: str) -> dict[str, object]:
    """A purge record that a site's key has signed.

    Raises:
        IntakeError: damaged, changed, or signed by another key.
    """
    try:
        content = json.loads(path.read_bytes())
        signature = str(content.pop("signature"))
        is_genuine = content["public_key"] == site_key and content["version"] == PURGE_VERSION
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise _not_a_record(path, type(error).__name__) from None
    if not is_genuine or not verify(site_key, canonical_json(content), signature):
        raise _not_a_record(path, "another key, another version, or changed")
    return dict(content)


def _not_a_record(path: Path, why: str) -> IntakeError:
    return IntakeError(
        "bad-purge-record",
        f"{path.name} is not a purge record of this site: {why}",
        hint="ask the hospital for the file as `osteofed-site purge` wrote it",
    )


def _inventory(site: Site) -> dict[str, dict[str, str]]:
    """What is there before anything is deleted, so that the record of a purge in two parts is whole."""
    there = [path for name in DELETED if os.path.lexists(path := site.folder / name)]
    links = [link for path in there for link in _find_links(path)]
    log = site.folder / IDENTITY_LOG
    return {
        "cohorts": _fingerprints(site),
        "deleted": {
            path.name: DELETED[path.name]
            for path in there
            if path not in links and not (path == log.parent and [*path.iterdir()] == [log])
        },
        "links": {str(path.relative_to(site.folder)): os.readlink(path) for path in links},
    }


def _find_links(path: Path) -> list[Path]:
    if path.is_symlink() or not path.is_dir():
        return [path] if path.is_symlink() else []
    return [link for entry in path.iterdir() for link in _find_links(entry)]


def _kept(folder: Path) -> tuple[str, ...]:
    names = sorted(path.name for path in folder.iterdir() if path.name in KEPT)
    log = [_KEPT_LOG] if (folder / IDENTITY_LOG).exists() else []
    return (*(f"{name}: {KEPT[name]}" for name in names), *log)


def _fingerprints(site: Site) -> dict[str, str]:
    """Name and version of each cohort, and its fingerprint, also of damaged ones."""
    found = {}
    for folder in sorted(site.cohorts.glob("*/v*")):
        found[f"{folder.parent.name} {folder.name}"] = stored_fingerprint(folder) or "unreadable"
    return found


def _delete(path: Path, spared: Path) -> list[Path]:
    """Delete a path with all that is in it, but for one file; returns mount points, emptied."""
    if path == spared or not os.path.lexists(path):
        return []
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return []
    mount_points = [mount for entry in path.iterdir() for mount in _delete(entry, spared)]
    if mount_points or any(path.iterdir()):
        return mount_points
    try:
        path.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return [path]
    return []
