"""What a site is shown when it is asked: the message as it was sent, and what the site holds about it.

``shown`` names each thing by a place and says its value as text, so that ``apart`` can tell in which
places, and by which values, a hostile request is not an honest one. What is random in every practice
federation (keys, hashes of plans and locks) is followed to what it names.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from flwr.app import ArrayRecord, RecordDict
from table_site import TableSites

from shared.signing.canonical import canonical_json, sha256_hex
from shared.signing.countersign import verify_countersignature
from shared.signing.keys import load_key, verify

Shown = dict[str, str]
Apart = frozenset[tuple[str, str]]


def apart(hostile: Shown, honest: Iterable[Shown]) -> Apart:
    """Places and values in which a hostile request differs from the honest one that is nearest to it.

    A place that the hostile one lacks has the value ``missing``.
    """
    differences = (
        frozenset(
            (place, hostile.get(place, "missing"))
            for place in hostile.keys() | each.keys()
            if hostile.get(place) != each.get(place)
            and not ("plan.is_here" in hostile and place not in hostile and place.startswith("plan."))
        )
        for each in honest
    )
    return min(differences, key=lambda found: (len(found), sorted(found)))


def shown(sites: TableSites, site: str, record: RecordDict, message_type: str) -> Shown:
    """Every place and value of one request to a site."""
    folder = sites.folder / "sites" / site
    told = {f"message.{name}": value for name, value in _sent(record)}
    told |= {"site": site, "message_type": message_type}
    told |= dict(_flat("policy", _policy(folder)))
    told |= dict(_flat("ledger", _ledger(folder)))
    told |= dict(_heads(sites, site, told))
    told |= dict(_flat("plan", _plan(folder, told)))
    told |= dict(_flat("lock", _lock(folder, told)))
    return {place: _short(value) for place, value in told.items()}


def _sent(record: RecordDict) -> Iterator[tuple[str, object]]:
    """Each field of a message's records, arrays number by number."""
    for held in record.values():
        if not isinstance(held, ArrayRecord):
            yield from held.items()
            continue
        for name, array in held.items():
            try:
                values = array.numpy()
            except (ValueError, TypeError, EOFError, MemoryError, OverflowError):
                yield from ((f"{name}.stype", array.stype), (f"{name}.file", array.data))
                continue
            yield from ((f"{name}.dtype", values.dtype.str), (f"{name}.shape", values.shape))
            if values.size <= 1000:
                yield from ((f"{name}[{i}]", each) for i, each in enumerate(values.ravel()))
            else:
                yield name, values.tobytes()


def _policy(folder: Path) -> object:
    text = (folder / "policy.yaml").read_text()
    return yaml.safe_load(text)


def _ledger(folder: Path) -> dict[str, object]:
    """The rows, and the row at which the witness saw the ledger last."""
    path, witness = folder / "ledger" / "ledger.jsonl", folder / "ledger-witness.json"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    rows = [" ".join(str(line["row"][name]) for name in ("kind", "stage", "round")) for line in lines]
    heads = [line["sha256"] for line in lines]
    stood = json.loads(witness.read_bytes())["witness"]["head_sha256"] if witness.exists() else ""
    return {"rows": ", ".join(rows[1:]), "is_behind": bool(stood) and stood not in heads}


def _heads(sites: TableSites, site: str, told: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Ledger head and countersignature: whether the head is the site's, and of what was signed."""
    head, signature = told.get("message.ledger_head"), told.get("message.countersignature")
    if not (isinstance(head, str) and isinstance(signature, str) and head):
        return
    path = sites.folder / "sites" / site / "ledger" / "ledger.jsonl"
    if path.exists() and head in path.read_text():
        yield "message.ledger_head", "of this ledger"
    yield "message.countersignature", _countersigned(sites, told, site, head, signature)


def _countersigned(
    sites: TableSites, told: Mapping[str, object], site: str, head: str, signature: str
) -> str:
    """Who has signed which hospital's head, and how that is spelled."""
    path, plan = sites.folder / "coordinator" / "keys" / "coordinator.pem", told["message.plan_sha256"]
    keys = {"coordinator": load_key(path), "elm": sites.site("elm").key, "hop": sites.site("hop").key}
    spelled = "" if signature == signature.lower() else ", in capitals"
    for (who, key), whose in product(keys.items(), ("elm", "hop")):
        if verify_countersignature(
            key.public_hex, signature.lower(), site=whose, plan_sha256=str(plan), ledger_head=head
        ):
            is_due = (who, whose, spelled) == ("coordinator", site, "")
            return "genuine" if is_due else f"of {who} about {whose}{spelled}"
    return f"{len(signature)} digits that sign nothing of it"


def _plan(folder: Path, told: dict[str, object]) -> dict[str, Any]:
    """The plan that a message names, if the site has it: then its hash says nothing more."""
    name = str(told.get("message.plan_sha256", ""))
    path = folder / "plans" / f"{name[:100]}.json"
    if not (name.isalnum() and path.exists()):
        return {"is_here": False}
    del told["message.plan_sha256"]
    envelope = json.loads(path.read_bytes())
    if not isinstance(envelope, dict):
        return {"is_here": "no plan"}
    content = envelope["plan"]
    written = canonical_json(content)
    written_sha256, approval = sha256_hex(written), folder / "approvals" / f"{name}.json"
    stages = {f"{place} {each['name']}": each for place, each in enumerate(content.pop("stages"))}
    entries = content.pop("roster")
    roster = {each["site"]: each for each in entries}
    key = roster.get(folder.name, {}).get("public_key", "")
    standing = {"approval": _approval(approval, key), "is_under_its_hash": written_sha256 == name}
    standing["signature"] = _signed_by(content["coordinator_key"], written, envelope["signature"])
    standing["enters"] = ", ".join(each["site"] for each in entries)
    return content | standing | {"stages": stages, "roster": roster}


def _approval(path: Path, key: str) -> str:
    """What an approval says, whether by anybody, and whether this site has signed it."""
    if not path.exists():
        return "none"
    kept = json.loads(path.read_bytes())
    signature = kept.pop("signature", "")
    is_ours = verify(key, canonical_json(kept), signature)
    return f"{kept.get('decision')}, named {bool(kept.get('by'))}, of this site {is_ours}"


def _signed_by(key: str, data: bytes, signature: str) -> str:
    return "the coordinator's" if verify(key, data, signature) else f"none of it: {signature}"


def _lock(folder: Path, told: dict[str, object]) -> dict[str, object]:
    """The lock that a message names, if the site has it."""
    name = str(told.get("message.lock_sha256", ""))
    path = folder / "locks" / f"{name[:100]}.json"
    if not (name.isalnum() and path.exists()):
        return {}
    del told["message.lock_sha256"]
    held = json.loads(path.read_bytes())
    if "payload" not in held:
        return {"file": path.read_text()}
    lock = json.loads(base64.b64decode(held["payload"]))
    return {name: lock[name] for name in ("release_sha256", "endpoint", "days", "locked_utc")}


def _flat(place: str, value: object) -> Iterator[tuple[str, object]]:
    """The leaves of nested names."""
    if isinstance(value, dict):
        for name, held in value.items():
            yield from _flat(f"{place}.{name}", held)
    else:
        yield place, value


def _short(value: object) -> str:
    """A value as text, a long one by its length and hash."""
    text = value if isinstance(value, str) else repr(value)
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return text if len(text) <= 100 else f"{len(text)} characters, {digest[:16]}"
