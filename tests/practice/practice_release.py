"""A practice run that is over: committed rounds and a signed release, written without training."""

from __future__ import annotations

import numpy as np

from server.run.folder import Event, RunStore
from server.run.stage_folder import Contribution, RoundState
from shared.contract.decision import decision_of
from shared.contract.protocol import SumReply, vector_sha256
from shared.contract.release import ReleaseRecord, write_release
from shared.signing.keys import load_key
from shared.stages.stage_sum import StageState


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
        decision=decision_of(store.plan.settings),
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
        encoders={place: store.folder / place for place in store.plan.encoder_places.values()},
    )


def finish_run(store: RunStore, *, absent: dict[int, dict[str, str]] | None = None) -> None:
    """Commit every round of the plan; ``absent`` names who was missing in which round, and why."""
    training = store.training
    sites = [entry.site for entry in store.plan.asked(training.stage)]
    size = training.last_committed().vector.size
    for number in range(1, training.stage.rounds + 1):
        missing = (absent or {}).get(number, {})
        present = [site for site in sites if site not in missing]
        for site in present:
            keep_total(store, training.stage.name, site, np.zeros(size, "<f4"), number=number)
        contributions = tuple(
            Contribution(site=site, weight=1 / len(present), total_sha256="0" * 64, ledger_head="ab")
            for site in present
        )
        state = StageState(round=number, vector=np.full(size, number, dtype="<f4"))
        training.commit(RoundState(state=state, contributions=contributions, missing=missing))
        store.log(Event(round=number, site="", code="round-committed"))
    store.write_averaged(np.full(size, 1, dtype="<f4"))
    make_release(store)


def keep_total(
    store: RunStore,
    stage: str,
    site: str,
    total: np.ndarray,
    *,
    number: int = 1,
    status: str = "measured",
) -> None:
    """Journal what a site sent, unsigned."""
    reply = SumReply(
        plan_sha256=store.plan.sha256,
        stage=stage,
        round=number,
        site=site,
        status=status,
        release_class=store.plan.stage(stage).release_class,
        vector_sha256="0" * 64,
        release_sha256="",
        total=total,
        ledger_head="",
    )
    journal = store.stage(stage).journal(total.size)
    journal.accept(number, reply, site=site, total_sha256=vector_sha256(total))


def keep_refusal(store: RunStore, stage: str, site: str, code: str) -> None:
    """Journal that a site gave no total, and why."""
    store.stage(stage).journal(0).reject(1, None, site=site, code=code)
