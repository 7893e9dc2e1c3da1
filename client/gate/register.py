"""A site's audit register of a run: coins tossed before the first charge, sums kept after each round.

One file per plan under ``audit/``, holding what ``osteofed-site register`` hands to an auditor. Coins
and salt come from the operating system. Imports the site and the auditor's record.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import numpy as np

from client.gate.export import export_file
from client.site.folder import Site
from shared.contract.plan import Plan
from shared.errors import AuditError
from shared.privacy.register_format import RegisterRecord, pack_register, read_register, write_register
from shared.train.canaries import AuditRegister

_SALT_BYTES = 32


def open_register(site: Site, plan: Plan) -> RegisterRecord | None:
    """The run's record, with fresh coins where there was none; None: the plan asks for no audit.

    Raises:
        AuditError: the site's own file is damaged.
    """
    n_canaries = plan.training.canaries if plan.training else 0
    if not n_canaries:
        return None
    path = register_file(site, plan.sha256)
    if path.exists():
        return read_register(path)
    bits = np.frombuffer(secrets.token_bytes(n_canaries), dtype=np.uint8)
    record = RegisterRecord(
        site=site.name,
        plan_sha256=plan.sha256,
        salt=secrets.token_bytes(_SALT_BYTES),
        coins=bits % 2 == 1,
        sums=np.zeros((0, n_canaries)),
        rounds=np.zeros(0, dtype=np.int64),
        places=np.zeros((0, n_canaries), dtype=np.int32),
        length=0,
    )
    write_register(path, record)
    return record


def keep_round(site: Site, record: RegisterRecord, register: AuditRegister, *, round_: int) -> None:
    """Add one round's sums and places; one trained again after a crash replaces the first."""
    others = record.rounds != round_
    rounds = np.concatenate([record.rounds[others], np.full(len(register.sums), round_)])
    sums = np.concatenate([record.sums[others], register.sums])
    lay = np.tile(register.places.astype(np.int32), (len(register.sums), 1))
    places = np.concatenate([record.places[others], lay])
    order = np.argsort(rounds, kind="stable")
    kept = replace(
        record,
        sums=sums[order],
        rounds=rounds[order],
        places=places[order],
        length=register.length,
    )
    write_register(register_file(site, record.plan_sha256), kept)


def export_register(site: Site, plan: Plan, out: Path) -> RegisterRecord:
    """Write the record for an auditor and log that it left; it says nothing about any patient.

    Raises:
        AuditError: the run has no register.
    """
    path = register_file(site, plan.sha256)
    if not path.exists():
        raise AuditError(
            "no-register",
            f"run {plan.run} has no audit register here",
            hint="a plan asks for one with privacy.canaries=1000, before the run",
        )
    record = read_register(path)
    export_file(
        site,
        out,
        pack_register(record),
        channel="export.register",
        release_class="public",
        message="RegisterRecord",
        plan_sha256=plan.sha256,
    )
    return record


def register_file(site: Site, plan_sha256: str) -> Path:
    """Where a run's record lies."""
    return site.folder / "audit" / f"{plan_sha256}.npz"
