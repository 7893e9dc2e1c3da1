"""A finished practice run with tables of its sites, for what a report reads out of a run folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import practice_federation as practice
from practice_release import keep_total

from server.run.folder import RunStore
from shared.contract.plan import Plan, write_plan
from shared.contract.settings import Settings
from shared.contract.stages import TableStage
from shared.measure.governed.statistics import StatisticsSpec, measure_statistics
from shared.privacy.cost import predict_cost
from shared.signing.keys import load_key

BINS = 12
NOISE = 4.0
# positives lean to the high bins, negatives to the low ones; sums of 60 and 240
POSITIVE = np.array([1, 1, 2, 2, 3, 3, 4, 6, 8, 9, 10, 11], dtype=float)
NEGATIVE = np.array([40, 36, 32, 28, 24, 20, 18, 14, 10, 8, 6, 4], dtype=float)
TABLE = np.concatenate([POSITIVE, NEGATIVE])
STATISTICS = StatisticsSpec(is_regression=False)


def settings_of(release_class: str) -> Settings:
    plain = practice.practice_settings()
    validation = plain.validation.model_copy(update={"release_class": release_class})
    return plain.model_copy(update={"validation": validation})


def found_run(home: Path, *, noise: float | None = None, **options: object) -> RunStore:
    """A finished run of three training sites and an external one; ``noise`` as its plan says.

    The sites declare as many patients as make their tables worth showing.
    """
    store, _ = practice.found_federation(
        home,
        settings=settings_of("governed" if noise is None else "dp"),
        n_external=1,
        **{"n_sites": 3, "weights_of_sites": (0.5, 0.3, 0.2), "declared": (3000,) * 3} | options,
    )
    if noise is not None:
        louder = {"noise_multipliers": (noise,)}
        stages = [
            stage.model_copy(update=louder) if isinstance(stage, TableStage) else stage
            for stage in store.plan.stages
        ]
        predicted = predict_cost(stages, delta=store.plan.settings.delta)
        changed = {"stages": stages, "predicted": predicted}
        plan = Plan.model_validate(store.plan.model_dump() | changed)
        key = load_key(store.home / "keys" / "coordinator.pem")
        (store.folder / "plan.json").unlink()
        write_plan(store.folder / "plan.json", plan, key)
        store = RunStore(store.folder, plan)
    return store


def statistics_of(table: np.ndarray) -> np.ndarray:
    """Governed statistics of a table's patients, each class spread evenly in a bin, none withheld."""
    counts = np.rint(table).astype(int)
    probability = np.concatenate(
        [
            (place % BINS + (np.arange(count) + 0.5) / count) / BINS
            for place, count in enumerate(counts)
            if count
        ]
    )
    vector = measure_statistics(
        STATISTICS,
        suspicion=probability,
        is_positive=np.arange(probability.size) < counts[:BINS].sum(),
        is_called=probability >= 0.5,
    )
    return np.array(
        [round(value, digits) for value, digits in zip(vector, STATISTICS.digits, strict=True)]
    )


def answer(store: RunStore, site: str, table: np.ndarray | None, kind: str = "internal") -> None:
    """Keep a site's table, or that it has nobody to measure."""
    if table is None:
        keep_total(store, kind, site, np.zeros(0), status="not-applicable")
    else:
        is_governed = store.plan.stage(kind).release_class == "governed"
        keep_total(store, kind, site, statistics_of(table) if is_governed else table)
