"""A locked release at a table site, and patients who come after the lock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from table_federation import write_table
from table_site import RELEASE, TableSites

from client.intake.accrue import accept_lock, accrue
from client.site.folder import open_site
from shared.contract.protocol import vector_sha256
from shared.contract.release import Lock, write_lock
from shared.signing.canonical import hash_of
from shared.signing.code_hash import installed_code_hash
from shared.signing.keys import load_key

LOCKED = datetime(2020, 6, 1, tzinfo=UTC)
GATHERING_DAYS = 120
ANSWERED = LOCKED + timedelta(days=GATHERING_DAYS)
ACCEPTED_BY = "Ada Lovelace"


def lock_for(sites: TableSites, **changes: object) -> tuple[Lock, Path]:
    """A lock as the coordinator makes one, of the weights that the requests here carry."""
    plan = sites.plan
    lock = Lock.model_validate(
        {
            "release_sha256": RELEASE,
            "plan_sha256": plan.sha256,
            "weights_sha256": vector_sha256(sites.weights),
            "code_sha256": installed_code_hash(),
            "label_rule_sha256": hash_of(plan.settings.cohort.label.model_dump(mode="json")),
            "endpoint": plan.settings.task.endpoint,
            "endpoint_threshold": None,
            "days": GATHERING_DAYS,
            "locked_utc": LOCKED.isoformat(),
        }
        | changes
    )
    path = sites.folder / "lock.json"
    write_lock(path, lock, load_key(sites.folder / "coordinator" / "keys" / "coordinator.pem"))
    return lock, path


def accrue_later(
    sites: TableSites,
    lock_file: Path,
    rows: range,
    day: str = "2020-09-01",
    accepted: datetime = LOCKED,
) -> None:
    """The rows as exams of a later day, numbered as other patients."""
    archive = sites.folder / f"later-{rows.start}-{rows.stop}"
    write_table(archive / "clinical.csv", rows)
    table = archive / "clinical.csv"
    table.write_text(table.read_text().replace("2020-03-01", day).replace("P00", "Q00"))
    folder = sites.folder / "sites" / "elm"
    lock = accept_lock(open_site(folder, clock=lambda: accepted), lock_file, by=ACCEPTED_BY)
    accrue(open_site(folder, clock=lambda: datetime(2021, 1, 1, tzinfo=UTC)), lock, archive)
