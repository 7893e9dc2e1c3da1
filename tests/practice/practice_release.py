"""A practice run that is over: committed rounds and a signed release, written without training."""

from __future__ import annotations

import numpy as np

from server.run.folder import Contribution, Event, RoundState, RunStore
from shared.contract.protocol import vector_sha256
from shared.contract.release import ReleaseRecord, write_release
from shared.signing.keys import load_key


def make_release(store: RunStore) -> None:
    """Sign the run's average as its release."""
    weights = store.averaged()
    record = ReleaseRecord(
        run=store.plan.run,
        plan_sha256=store.plan.sha256,
        weights_sha256=vector_sha256(weights),
        layout_sha256=store.plan.layout_sha256,
        encoder_sha256=store.plan.encoder_sha256,
        preprocessing="practice",
        code_sha256=store.plan.code_sha256,
        ledger_heads={},
        rounds=3,
    )
    write_release(
        store.release_folder,
        record,
        weights,
        plan_file=store.folder / "plan.json",
        key=load_key(store.home / "keys" / "coordinator.pem"),
    )


def finish_run(store: RunStore, *, absent: dict[int, dict[str, str]] | None = None) -> None:
    """Commit every round of the plan; ``absent`` names who was missing in which round, and why."""
    training = [entry.site for entry in store.plan.sites("training")]
    size = store.last_committed().weights.size
    for number in range(1, int(store.plan.settings.federation.rounds or 0) + 1):
        missing = (absent or {}).get(number, {})
        present = [site for site in training if site not in missing]
        store.commit(
            RoundState(
                round=number,
                weights=np.full(size, number, dtype="<f4"),
                contributions=tuple(
                    Contribution(
                        site=site, weight=1 / len(present), update_sha256="0" * 64, ledger_head="ab"
                    )
                    for site in present
                ),
                missing=missing,
            )
        )
        store.log(Event(round=number, site="", code="round-committed"))
    store.write_averaged(np.full(size, 1, dtype="<f4"))
    make_release(store)
