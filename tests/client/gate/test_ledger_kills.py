"""Whatever instant a process dies at, what was trained was charged and what was charged is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import ledger_writer
import pytest
from practice_site import open_ledger, site_key

from shared.privacy.accountant import epsilon_of
from shared.privacy.filter import fits
from shared.privacy.ledger_format import verify_chain

N_KILLS = 210


@pytest.mark.slow
def test_two_hundred_kills_over_two_writers_lose_no_charge_and_train_nothing_uncharged(
    tmp_path: Path,
) -> None:
    open_ledger(tmp_path)
    run = subprocess.run(
        [sys.executable, ledger_writer.__file__, str(tmp_path), str(N_KILLS), "7"],
        capture_output=True,
        text=True,
        timeout=300,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )
    assert run.returncode == 0, run.stderr
    counted = json.loads(run.stdout)
    assert (counted["killed"], counted["ended"]) == (N_KILLS, 0)
    assert counted["torn"] >= 1
    assert run.stderr == "", "no writer met a ledger that it could not read"

    lines = (tmp_path / "ledger" / "ledger.jsonl").read_bytes()
    ledger = open_ledger(tmp_path)
    ledger.verify()
    kept = (tmp_path / "ledger" / "ledger.jsonl").read_bytes()
    assert lines.startswith(kept), "only a torn last line may be cut"
    rows = verify_chain(kept.splitlines(), trusted_key=site_key(tmp_path).public_hex)
    assert rows == list(ledger.show())
    charged = Counter(row.request_sha256 for row in rows if row.kind == "charge")
    settled = Counter(row.request_sha256 for row in rows if row.kind == "outcome")
    trained = {path.name for path in (tmp_path / "trained").iterdir()}
    assert trained <= set(charged)
    assert set(settled) <= trained
    assert max(charged.values()) == max(settled.values()) == 1
    assert len(trained) > N_KILLS / 3

    # kills have hit between charge and training, between training and outcome, and inside a line
    assert len(set(charged) - trained) > 0
    assert len(trained - set(settled)) > N_KILLS / 10
    per_patient = Counter(
        patient
        for row in rows
        if row.kind == "charge"
        for patient in json.loads(
            (tmp_path / "ledger" / "members" / f"{row.members_sha256}.json").read_bytes()
        )
    )
    cap, event = ledger_writer.CAP, ledger_writer.EVENT
    for patient, n_charges in per_patient.most_common(12):
        spent = ledger.budget([patient], allowance=cap).epsilon_spent
        assert spent == pytest.approx(epsilon_of([replace(event, steps=n_charges)], cap.delta))
        assert spent <= cap.epsilon_lifetime
    one_more = replace(event, steps=max(per_patient.values()) + 1)
    assert not fits([one_more], epsilon=cap.epsilon_lifetime, delta=cap.delta), "the cap was not met"
