"""Replacing a site's signing key: at no moment, crashes included, are two keys in force.

Order: make the new key beside the old, hand the ledger over (a row signed by both), write the notice
for the coordinator, take back every approval, put the new key in the old one's place. The old private
key is gone then: its public half in the ledger verifies whatever it signed, and a key that is kept can
only be stolen. A rotation that was interrupted is finished by doing it again; until then the ledger
refuses every charge. Imports site, ledger and approvals.
"""

from __future__ import annotations

from pathlib import Path

from client.gate.ledger import Ledger
from client.site.approval import Approvals
from client.site.folder import Site, require_person
from shared.contract.plan import read_plan
from shared.errors import LedgerError, PlanError
from shared.machine.files import sync_folder
from shared.privacy.ledger_format import LedgerRow
from shared.signing.key_rotation import KeyRotation, write_notice
from shared.signing.keys import SigningKey, create_key, load_key


def rotate_key(site: Site, *, by: str) -> tuple[KeyRotation, Path]:
    """Replace the site's signing key.

    A plan names the key it was written for, so every approval ends: the coordinator enters the notice,
    writes a new plan, and the hospital decides about that.

    Args:
        site: the site, opened with the key in force; open it again afterwards.
        by: first and last name of the person who decides it.

    Returns:
        The rotation and the notice to hand to the coordinator.

    Raises:
        PolicyError: no person is named.
        LedgerError: the ledger is damaged or behind, or no key here fits it.
    """
    require_person(by)
    waiting = site.folder / "keys" / "signing.next.pem"
    new = load_key(waiting) if waiting.exists() else create_key(waiting)
    row = _hand_over(site, new, by=by)
    notice = site.folder / "rotations" / f"{row.index:06d}.json"
    write_notice(notice, row.rotation, old=site.key, new_signature=row.next_signature)
    _end_approvals(site, new, by=by)
    waiting.replace(waiting.with_name("signing.pem"))
    sync_folder(waiting.parent)
    return row.rotation, notice


def _hand_over(site: Site, new: SigningKey, *, by: str) -> LedgerRow:
    """The row that hands the ledger over; the one that an interrupted rotation has written, if any."""
    try:
        return _open_ledger(site, site.key).hand_over(new, by=by)
    except LedgerError as error:
        if error.code != "ledger.key-handed-over":
            raise
        rows = _open_ledger(site, new).show()
    return next(row for row in rows if row.next_public_key == new.public_hex)


def _open_ledger(site: Site, key: SigningKey) -> Ledger:
    return Ledger(site.folder / "ledger", site=site.name, key=key, clock=site.clock)


def _end_approvals(site: Site, new: SigningKey, *, by: str) -> None:
    """Refuse, in the new key's name, every plan that was ever decided about."""
    if site.settings.coordinator_key is None:
        return
    approvals = Approvals(site.folder, key=new, coordinator_key=site.coordinator_key)
    for record in (site.folder / "approvals").glob("*.json"):
        try:
            plan = read_plan(site.folder / "plans" / record.name, coordinator_key=site.coordinator_key)
        except PlanError:
            record.unlink()  # a decision without its plan allows nothing
            continue
        approvals.decide(plan, "refused", by=by, now=site.clock())
