"""Files that a person at the site hands over: each is in the outbox before it is written.

Classes: ``public`` for what is meant for everybody to read, ``status`` for what holds no figure about
patients and carries no noise, yet is not a plan constant: ledger and statement name member lists by
hash (see ``export_ledger``). Imports site, ledger
and outbox.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from client.gate.ledger import Ledger
from client.gate.outbox import Departure, Outbox
from client.site.folder import Site
from shared.machine.files import write_atomic
from shared.machine.hours import hour_text
from shared.privacy.ledger_export import LedgerExport, encode_export
from shared.signing.canonical import sha256_hex

ExportChannel = Literal["export.register", "export.ledger", "export.statement", "export.external"]


def export_file(
    site: Site,
    out: Path,
    content: bytes,
    *,
    channel: ExportChannel,
    release_class: Literal["public", "status"],
    message: str,
    plan_sha256: str = "",
) -> None:
    """Log that a file leaves, then write it.

    Args:
        message: what kind of file it is.
        plan_sha256: the run it is about; empty where it is about all runs.
    """
    Outbox(site.folder / "outbox", site.folder / "replies").record(
        Departure(
            utc=hour_text(site.clock()),
            channel=channel,
            release_class=release_class,
            message=message,
            n_bytes=len(content),
            payload_sha256=sha256_hex(content),
            epsilon=0.0,
            plan_sha256=plan_sha256,
        )
    )
    write_atomic(out, content)


def export_ledger(site: Site, ledger: Ledger, out: Path) -> LedgerExport:
    """Write the site's ledger for an auditor; member lists stay.

    Rows are plan constants, times and keyed hashes of member lists. Whether two hashes are equal, and
    whether the dearest patient paid for one list or for several, depends on who is in a cohort and
    carries no noise: so the file is of class ``status`` and not ``public``.
    """
    export = ledger.account_for(allowance=site.policy.allowance)
    export_file(
        site,
        out,
        encode_export(export),
        channel="export.ledger",
        release_class="status",
        message="LedgerExport",
    )
    return export
