"""Founds a practice federation below HOME and trains it deployed; run inside a copy of the project.

``python run_deployed.py HOME ROUNDS BUNDLE`` prints seconds per stage as JSON. BUNDLE is the folder
from which the coordinator builds what it ships; the sites run the project that this is run in.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import practice_federation as practice

from server.engines import superlink
from server.engines.loopback import deploy_loopback

if __name__ == "__main__":
    home, rounds = Path(sys.argv[1]), int(sys.argv[2])
    superlink.PROJECT = Path(sys.argv[3])
    settings = practice.practice_settings(
        rounds=rounds, federation={"round_deadline_s": 120, "liveness_s": 90, "poll_s": 0.1}
    )
    store, folders = practice.found_federation(home, n_sites=3, settings=settings)
    results = deploy_loopback(home, store.folder, folders, stage_timeout_s=300)
    sys.stdout.write(json.dumps([asdict(result) for result in results]))
