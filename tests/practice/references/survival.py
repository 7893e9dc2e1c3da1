"""Times to an event with the answers of lifelines, in survival.json.

``python tests/practice/references/survival.py 2026-11-27`` in an environment with lifelines, with the
day as argument. Knows nothing of the project's code.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import lifelines
import numpy as np
from lifelines import AalenJohansenFitter, KaplanMeierFitter
from lifelines.utils import concordance_index

HERE = Path(__file__).resolve().parent
EDGES = [1.0, 2.0, 3.0, 4.0, 5.0]


def intervals(years: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Who ends in which interval, from 1 on; of others how many intervals whose middle was reached."""
    ended = np.searchsorted(EDGES, years) + 1
    survived = np.searchsorted(np.array(EDGES) - 0.5, years, side="right")
    return np.where(ends, ended, survived)


def main() -> None:
    """Write survival.json."""
    draw = np.random.default_rng(20261127)
    n = 400
    first = draw.normal(size=n)
    event = draw.exponential(1 / (0.1 * np.exp(0.8 * first)))
    death, left = draw.exponential(1 / 0.06, n), draw.uniform(0.5, 9, n)
    which = np.argmin([event, death, left], axis=0)
    years = np.round(np.min([event, death, left], axis=0), 4)
    risk = np.round(1 / (1 + np.exp(0.5 - first)), 4)
    # what comes after the horizon is censored there
    is_event = (which == 0) & (years <= EDGES[-1])
    is_death = (which == 1) & (years <= EDGES[-1])
    time = intervals(years, is_event)
    never = np.where(is_death, len(EDGES), time)
    beside = AalenJohansenFitter(calculate_variance=False).fit(
        years, np.where(which == 2, 0, which + 1), event_of_interest=1
    )
    answers = {
        "c_of_one_event": concordance_index(time, -risk, is_event),
        "c_beside_death": concordance_index(never, -risk, is_event),
        "kaplan_meier": 1 - KaplanMeierFitter().fit(time, is_event).predict(len(EDGES)),
        "aalen_johansen_of_exact_times": float(
            beside.cumulative_density_[beside.cumulative_density_.index <= EDGES[-1]].iloc[-1, 0]
        ),
    }
    certificate = {
        "tool": f"lifelines {lifelines.__version__}, numpy {np.__version__}",
        "script": Path(__file__).name,
        "date": sys.argv[1],
        "script_sha256": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    }
    words = np.array(["fracture", "death", "alive"])[which].tolist()
    data = {"edges": EDGES, "years": years.tolist(), "status": words, "risk": risk.tolist()}
    content = {
        "certificate": certificate,
        "data": data,
        "answers": {name: float(value) for name, value in answers.items()},
    }
    lines = ",\n ".join(f'"{name}": {json.dumps(part)}' for name, part in content.items())
    (HERE / "survival.json").write_text("{\n " + lines + "\n}\n")


if __name__ == "__main__":
    main()
