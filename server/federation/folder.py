"""The coordinator's folder: its key, the registry of enrolled sites, and the runs.

::

    <home>/keys/coordinator.pem   signs plans, heads, locks and releases
    <home>/sites.json             who is enrolled, with which key, in which role
    <home>/rotations/<site>/      notices of replaced keys, as the sites signed them
    <home>/heads.json             each ledger's last head, by the key that its site was enrolled with
    <home>/runs/<run>/            one folder per run (see ``server.run.folder``)

Imports join_request, keys, key_rotation and files only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

from server.federation.join_request import JoinRequest, read_join_request
from shared.errors import PlanError, RunError
from shared.machine.files import write_atomic
from shared.privacy.ledger_format import LedgerHead
from shared.signing.canonical import canonical_json
from shared.signing.key_rotation import KeyRotation, read_notice
from shared.signing.keys import SigningKey, create_key, load_key
from shared.signing.node_notice import NodeNotice, read_node_notice
from shared.strict import FROZEN

HEADS_VERSION = 3


class Enrolled(BaseModel):
    """One line of the registry.

    Attributes:
        site: the site's name.
        public_key: under which it signs now.
        node_key: of its SuperNode.
        declared_patients: training patients, as published.
        role: in runs.
        is_required: whether a run is complete only with this site's results.
        enrolled_utc: when it was enrolled.
        revoked_utc: when its membership was closed; null: it is open.
        former_keys: the site's own, oldest first, each replaced.
        former_node_keys: of its SuperNode, oldest first, each replaced.
    """

    model_config = FROZEN

    site: str
    public_key: str
    node_key: str = ""
    declared_patients: int
    role: Literal["training", "external"]
    is_required: bool = True
    enrolled_utc: str
    revoked_utc: str | None = None
    former_keys: tuple[str, ...] = ()
    former_node_keys: tuple[str, ...] = ()


_REGISTRY = TypeAdapter(list[Enrolled])


@dataclass(frozen=True)
class Home:
    """Paths and records of one coordinator."""

    folder: Path

    @property
    def key_file(self) -> Path:
        """The coordinator's private key."""
        return self.folder / "keys" / "coordinator.pem"

    @property
    def heads_file(self) -> Path:
        """Each ledger's last head that this coordinator has seen, over all its runs."""
        return self.folder / "heads.json"

    def run_folder(self, run: str) -> Path:
        """Where a run lives."""
        return self.folder / "runs" / run

    def planned_run(self, run: str) -> Path:
        """Folder of a run that has a plan.

        Raises:
            RunError: there is no such run.
        """
        folder = self.run_folder(run)
        if not (folder / "plan.json").exists():
            known = sorted(path.name for path in (self.folder / "runs").glob("*"))
            raise RunError(
                "unknown-run",
                f"run must be one of {known}, not {run}",
                hint="`osteofed-coordinator plan RUN` writes one",
            )
        return folder

    def key(self) -> SigningKey:
        """The coordinator's signing key.

        Raises:
            RunError: the folder was never initialised.
        """
        if not self.key_file.exists():
            raise RunError(
                "no-coordinator",
                f"{self.folder} is not a coordinator's folder: keys/coordinator.pem is missing",
                hint="run `osteofed-coordinator init` first, or name another --home",
            )
        return load_key(self.key_file)

    def sites(self) -> list[Enrolled]:
        """Every site that was ever enrolled, revoked ones included."""
        path = self.folder / "sites.json"
        return _REGISTRY.validate_json(path.read_bytes()) if path.exists() else []

    def node_keys(self) -> dict[str, str]:
        """Public node key by site, of those whose nodes the SuperLink lets in."""
        return {entry.site: entry.node_key for entry in self.active_sites()}

    def active_sites(self) -> list[Enrolled]:
        """Enrolled sites that were not revoked, in order of enrolment."""
        return [site for site in self.sites() if site.revoked_utc is None]

    def keys_since(self, site: str, public_key: str) -> tuple[str, ...]:
        """A key of a site and those that have followed it by accepted notices, oldest first."""
        for entry in self.active_sites():
            keys = (*entry.former_keys, entry.public_key)
            if entry.site == site and public_key in keys:
                return keys[keys.index(public_key) :]
        return (public_key,)

    def ledgers_of(self, keys: Mapping[str, str]) -> dict[str, str]:
        """What the ledgers of sites are known by here: the first key of each enrolment.

        A hospital that comes back under its old name has new keys and a new ledger.

        Args:
            keys: public key by site, of a plan.
        """
        first = {
            key: (*entry.former_keys, entry.public_key)[0]
            for entry in self.sites()
            for key in (*entry.former_keys, entry.public_key)
        }
        return {site: first.get(key, key) for site, key in keys.items()}

    def heads_of(self, keys: Mapping[str, str]) -> dict[str, str]:
        """The last head by site, of those of which one was seen; argument as ``ledgers_of``."""
        heads = self.ledger_heads()
        ledgers = self.ledgers_of(keys)
        return {site: heads[ledger] for site, ledger in ledgers.items() if ledger in heads}

    def ledger_heads(self) -> dict[str, str]:
        """Each ledger's last head that this coordinator has seen, over all its runs."""
        return self._kept_heads()[0]

    def record_heads(self, heads: Mapping[str, LedgerHead]) -> None:
        """Remember new heads, by ledger.

        A head that was seen before is not the last one again: a repeated or journalled reply of an
        earlier day must not make the coordinator forget what it has seen since.
        """
        last, seen = self._kept_heads()
        for ledger, head in heads.items():
            if head.sha256 and head.sha256 not in seen.setdefault(ledger, {}):
                seen[ledger][head.sha256] = head.index
                last[ledger] = head.sha256
        content = {"version": HEADS_VERSION, "heads": last, "seen": seen}
        write_atomic(self.heads_file, json.dumps(content, indent=1).encode())

    def has_seen(self, ledger: str, head: str) -> bool:
        """Whether a head of a ledger was ever seen here."""
        return head in self._kept_heads()[1].get(ledger, {})

    def forked_ledgers(self) -> frozenset[str]:
        """Ledgers of which two rows were seen at one place: two copies of one site answer."""
        indices = {ledger: list(rows.values()) for ledger, rows in self._kept_heads()[1].items()}
        return frozenset(ledger for ledger, rows in indices.items() if len(set(rows)) < len(rows))

    def _kept_heads(self) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
        """The last head of each ledger, and every one that was seen with its row's index."""
        if not self.heads_file.exists():
            return {}, {}
        content = json.loads(self.heads_file.read_bytes())
        if content["version"] == HEADS_VERSION:
            return content["heads"], content["seen"]
        return self._heads_by_name(content)

    def _heads_by_name(
        self, content: Mapping[str, Any]
    ) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
        """The same of versions 1 and 2, which knew ledgers by their site's name.

        Of a name that was enrolled more than once nobody knows whose the heads were: each has seen
        them, and none has a last one. Rows without an index are below 0, where none is like another.
        """
        last: dict[str, str] = {}
        seen: dict[str, dict[str, int]] = {}
        of_name: dict[str, list[str]] = {}
        for entry in self.sites():
            ledger = (*entry.former_keys, entry.public_key)[0]
            of_name.setdefault(entry.site, []).append(ledger)
        for site, head in content["heads"].items():
            rows = content.get("seen", {}).get(site, [head])
            ledgers = of_name.get(site, [site])
            has_indices = isinstance(rows, dict) and len(ledgers) == 1
            numbered = {each: -1 - place for place, each in enumerate(rows)}
            for ledger in ledgers:
                seen[ledger] = dict(rows) if has_indices else numbered
            if len(ledgers) == 1:
                last[ledgers[0]] = head
        return last, seen

    def change(self, site: str, **changes: object) -> None:
        """Write new values into the line of an active site."""
        self._write_sites(
            [
                entry.model_copy(update=changes)
                if entry.site == site and entry.revoked_utc is None
                else entry
                for entry in self.sites()
            ]
        )

    def _write_sites(self, sites: list[Enrolled]) -> None:
        write_atomic(self.folder / "sites.json", _REGISTRY.dump_json(sites, indent=1))


def create_home(folder: Path) -> Home:
    """Make the coordinator's folder and its key; an existing one is left as it is."""
    home = Home(folder)
    if not home.key_file.exists():
        create_key(home.key_file)
    return home


def enrol(
    home: Home,
    request_file: Path,
    *,
    role: Literal["training", "external"],
    is_required: bool,
    now: datetime,
    compare: Callable[[JoinRequest], None] | None = None,
) -> Path:
    """Enter a site's key into the federation and write the answer that the site joins with.

    Args:
        home: of the coordinator.
        request_file: of the site.
        role: of the site in runs.
        is_required: whether a run is complete only with its results.
        now: when it is enrolled.
        compare: refuses a key that is not the one which the site has told, before anything is signed or
            written; None where both sides are one person's.

    Returns:
        The enrolment file for the site: coordinator's key, signed.

    Raises:
        PlanError: as ``compare``; the request is damaged, not signed by the key in it, names an
            enrolled site, or has a key that is or was enrolled: a revoked site comes back with new keys
            only. An enrolled site that declares another size, under its own keys, is no other site.
    """
    request = read_join_request(request_file)
    enrolled = next((site for site in home.active_sites() if site.site == request.site), None)
    if enrolled is not None and _declares_anew(request, enrolled):
        home.change(request.site, declared_patients=request.declared_patients)
        return home.folder / "enrolments" / f"{request.site}.json"
    if enrolled is not None:
        raise PlanError(
            "already-enrolled",
            f"site {request.site} is enrolled already",
            hint=f"`osteofed-coordinator revoke {request.site}` first if its key is lost",
        )
    _require_new_key(home, request.public_key)
    _require_new_node_key(home, request.node_key)
    key = home.key()
    if compare is not None:
        compare(request)
    entry = Enrolled(
        site=request.site,
        public_key=request.public_key,
        node_key=request.node_key,
        declared_patients=request.declared_patients,
        role=role,
        is_required=is_required,
        enrolled_utc=now.isoformat(),
    )
    home._write_sites([*home.sites(), entry])
    content = {"site": request.site, "coordinator_key": key.public_hex, "role": role}
    answer = home.folder / "enrolments" / f"{request.site}.json"
    signed = content | {"signature": key.sign(canonical_json(content))}
    write_atomic(answer, json.dumps(signed, indent=1).encode())
    return answer


def accept_key(home: Home, notice: Path) -> KeyRotation:
    """Replace a site's enrolled key by the one that its rotation notice hands over to.

    The notice is kept. Plans written before name the former key, and the site has ended its approvals
    of them: the next thing to do is a new plan.

    Raises:
        LedgerError: unreadable, or not signed by the enrolled key of an active site and the new one.
        PlanError: the new key is or was another enrolment's, or was replaced before.
    """
    sites = home.active_sites()
    rotation = read_notice(notice, enrolled_keys={entry.site: entry.public_key for entry in sites})
    _require_new_key(home, rotation.new_key)
    folder = home.folder / "rotations" / rotation.site
    write_atomic(folder / f"{rotation.old_key}.json", notice.read_bytes())
    former = next(entry.former_keys for entry in sites if entry.site == rotation.site)
    home.change(rotation.site, public_key=rotation.new_key, former_keys=(*former, rotation.old_key))
    return rotation


def accept_node_key(home: Home, notice: Path) -> NodeNotice:
    """Replace a site's enrolled node key; `serve` lets in the new one only, from the next second on.

    Raises:
        ProtocolError: unreadable, or not signed by the enrolled key of an active site.
        PlanError: the key is or was a site's.
    """
    sites = home.active_sites()
    found = read_node_notice(notice, enrolled_keys={entry.site: entry.public_key for entry in sites})
    _require_new_node_key(home, found.node_key)
    entry = next(entry for entry in sites if entry.site == found.site)
    former = (*entry.former_node_keys, entry.node_key)
    home.change(found.site, node_key=found.node_key, former_node_keys=former)
    return found


def revoke(home: Home, site: str, *, now: datetime) -> None:
    """Close a site's membership; its past stays in the registry.

    Raises:
        PlanError: no such active site.
    """
    require_active(home, site)
    home.change(site, revoked_utc=now.isoformat())


def require_active(home: Home, site: str) -> None:
    """Refuse a name that is no enrolled site's, or a revoked one's.

    Raises:
        PlanError: with those there are.
    """
    if not any(entry.site == site for entry in home.active_sites()):
        raise PlanError(
            "unknown-site",
            f"site must be one of {[entry.site for entry in home.active_sites()]}, not {site}",
            hint="`osteofed-coordinator sites` lists them",
        )


def _declares_anew(request: JoinRequest, enrolled: Enrolled) -> bool:
    """Whether a request is of the same site under the same keys, of another size."""
    keys = (enrolled.public_key, enrolled.node_key)
    is_same = (request.public_key, request.node_key) == keys
    return is_same and request.declared_patients != enrolled.declared_patients


def _require_new_key(home: Home, public_key: str) -> None:
    """Refuse a signing key that is or was enrolled, for whichever site."""
    used = {key for entry in home.sites() for key in (entry.public_key, *entry.former_keys)}
    if public_key in used:
        raise PlanError(
            "key-in-use",
            f"key {public_key[:12]} is or was enrolled already",
            hint="ask the site for a new one (`rotate-key`, or `init` in a new folder once it was "
            "revoked); a key is enrolled for one site and one time only",
        )


def _require_new_node_key(home: Home, node_key: str) -> None:
    """Refuse a node key that is or was enrolled: Flower would not let it in a second time."""
    used = {key for entry in home.sites() for key in (entry.node_key, *entry.former_node_keys)}
    if node_key in used:
        raise PlanError(
            "node-key-in-use",
            "this node key is or was enrolled already",
            hint="ask the site for a new one (`rotate-node-key`, or `init` in a new folder once it was "
            "revoked); an earlier notice counts for nothing",
        )
