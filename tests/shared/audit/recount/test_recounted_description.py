"""A run that described its patients, read by an auditor: its charges are the plan's too."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from handed_over import HandedOver, play_run
from test_claims import WORDS, failed, recount


@pytest.fixture(scope="module")
def described_run(tmp_path_factory: pytest.TempPathFactory) -> HandedOver:
    """Described first, then trained and validated; to be looked at only."""
    prices = ["privacy.epsilon=2", "validation.epsilon=2", "validation.description_epsilon=1"]
    return play_run(tmp_path_factory.mktemp("described"), *prices, described=True)


@pytest.mark.parametrize("name", ["elm", "hop"])
def test_an_honest_run_with_a_description_passes_every_claim(
    described_run: HandedOver, name: str
) -> None:
    found = recount(described_run, name)
    assert failed(found) == set()
    assert {key for key in WORDS if found[key].verdict != "pass"} <= {"countersigned"}


def test_a_description_charged_with_less_noise_is_refuted(
    described_run: HandedOver, tmp_path: Path
) -> None:
    shutil.copytree(described_run.folder, tmp_path / "copy")
    handed = HandedOver(tmp_path / "copy")
    rows = [
        replace(row, noise_multiplier=row.noise_multiplier * 2)
        if row.kind == "charge" and row.purpose == "evaluate.description"
        else row
        for row in handed.rows()
    ]
    assert rows != list(handed.rows())
    handed.forge_ledger(rows)
    assert "charges" in failed(recount(handed, statements=[], outboxes={}, run_folder=None))


def test_who_trains_pays_for_the_description_too(described_run: HandedOver) -> None:
    figures, predicted = recount(described_run)["cost"].figures, described_run.plan.predicted
    # ε 2 of training and ε 1 of the description, composed: about √(μ² + μ'²), not their sum
    assert figures["epsilon_recounted"] == pytest.approx(predicted.dearest("training"), abs=1e-6)
    assert predicted.training_epsilon is not None
    assert predicted.training_epsilon + 0.1 < float(figures["epsilon_recounted"] or 0) < 2.9
