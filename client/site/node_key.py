"""Replacing the key by which a site's program reaches the SuperLink. Imports the site and keys.

It is no signing key: approvals and ledger stay as they are. From the replacing on, the site connects
again once the coordinator has taken the notice in and serves anew.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from client.site.folder import Site, require_person
from shared.machine.files import sync_folder
from shared.signing.keys import ensure_node_key
from shared.signing.node_notice import NodeNotice, write_node_notice


def rotate_node_key(site: Site, *, by: str) -> tuple[NodeNotice, Path]:
    """Replace the site's node key, also one that is lost.

    Args:
        site: the site.
        by: first and last name of the person who decides it.

    Returns:
        The notice, and its file for the coordinator.

    Raises:
        PolicyError: no person is named.
    """
    require_person(by)
    key = site.folder / "keys" / "node.key"
    waiting = key.with_name("node.next.key")
    public = ensure_node_key(waiting)
    notice = NodeNotice(site=site.name, node_key=public.read_text().strip())
    name = hashlib.sha256(notice.node_key.encode()).hexdigest()[:12]
    path = site.folder / "rotations" / f"node-{name}.json"
    write_node_notice(path, notice, key=site.key)
    public.replace(key.with_name("node.key.pub"))
    waiting.replace(key)
    sync_folder(key.parent)
    return notice, path
