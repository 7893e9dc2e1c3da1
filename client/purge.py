"""A project ends: patients' data is deleted, what proves the past is kept, and a record is signed.

Kept is what makes budgets and statements checkable later: the ledger and its member lists (keyed
pseudonyms), plans, approvals, outbox, keys. The pseudonym key stays too: without it everybody would
come back as somebody new with a fresh budget. Anything this program did not write is left and named.
Deleting does not reach backups, snapshots or what a disk still holds: the record says so.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.identity import IDENTITY_LOG
from client.ledger import Ledger
from client.site import Site, require_person
from shared.canonical import canonical_json
from shared.errors import IntakeError
from shared.files import write_atomic
from shared.keys import verify

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
    "locks": "what was frozen before it was measured",
    "outbox": "what has left",
    "audit": "canaries for an auditor; no patient is in them",
    RECORDS: "records like this one",
}
CAVEAT = (
    "Copies outside this folder (backups, snapshots, exports, films given to readers) are not reached, "
    "and updates that have left cannot be recalled."
)


@dataclass(frozen=True, kw_only=True)
class Purge:
    """What became of a site's folder. ``left``: entries that this program knows nothing of."""

    record: Path
    cohorts: tuple[str, ...]
    deleted: tuple[str, ...]
    kept: tuple[str, ...]
    left: tuple[str, ...]


def purge(site: Site, *, by: str) -> Purge:
    """Delete patients' data of a site for good and write a signed record; repeatable after a crash.

    Args:
        site: the opened site.
        by: first and last name of who decides it.

    Raises:
        PolicyError: nobody is named as deciding.
        LedgerError: the ledger is damaged: nothing is deleted before it can be relied on.
    """
    require_person(by)
    head = _ledger_head(site)
    begun = site.folder / RECORDS / _BEGUN
    if not begun.exists():
        write_atomic(begun, canonical_json({"cohorts": _fingerprints(site)}), mode=0o600)
    cohorts = dict(json.loads(begun.read_bytes())["cohorts"])
    with site.linkage.held():
        site.linkage.forget_everybody()
        for name in DELETED:
            _delete(site.folder / name, spared=site.folder / IDENTITY_LOG)
    entries = sorted(path.name for path in site.folder.iterdir())
    now = site.clock()
    done = Purge(
        record=site.folder / RECORDS / f"{now:%Y%m%dT%H%M%SZ}.json",
        cohorts=tuple(f"{name} {sha256}" for name, sha256 in cohorts.items()),
        deleted=tuple(f"{name}: {why}" for name, why in DELETED.items()),
        kept=tuple(f"{name}: {KEPT[name]}" for name in entries if name in KEPT),
        left=tuple(name for name in entries if name not in KEPT and name not in DELETED),
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


def _ledger_head(site: Site) -> str:
    folder = site.folder / "ledger"
    if not (folder / "ledger.jsonl").exists():
        return ""
    return Ledger(folder, site=site.name, key=site.key, clock=site.clock).verify().sha256


def _fingerprints(site: Site) -> dict[str, str]:
    """Name and version of each cohort, and its fingerprint, also of damaged ones."""
    found = {}
    for folder in sorted(site.cohorts.glob("*/v*")):
        try:
            sha256 = str(json.loads((folder / "cohort.json").read_bytes())["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            sha256 = "unreadable"
        found[f"{folder.parent.name} {folder.name}"] = sha256
    return found


def _delete(folder: Path, *, spared: Path) -> None:
    """Delete a folder with all that is in it, but for one file."""
    for entry in folder.iterdir() if folder.exists() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != spared:
            entry.unlink()
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
