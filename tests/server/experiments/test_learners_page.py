"""The page of the learners' figures: each with its error, beside another experiment's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.experiments import learners_page as module
from server.experiments.learners import ENTRIES, QUICK, Measured
from server.experiments.learners_page import (
    BLUEPRINT,
    Outcome,
    gaps,
    learners_page,
    read_blueprint,
    read_learners,
    write_learners,
)
from server.federation.compose import compose_settings
from shared.errors import SettingsError
from shared.machine.files import PROJECT


def of(found: Measured) -> Outcome:
    return Outcome(date="2026-11-27", encoder_sha256="e" * 64, size=QUICK, measured=(found,), pooled=())


FOUR = [(0.8, 0.01), (0.81, 0.02), (0.82, 0.03), (0.83, 0.04)]


def test_the_page_holds_each_figure_with_its_error_and_the_blueprints_beside_the_same_arm(
    tmp_path: Path,
) -> None:
    found = Measured(name="proportional odds", figure="AUC", arms={"federated": FOUR, "pooled": FOUR})
    text = write_learners(of(found), root=tmp_path).read_text()
    row = "| 0.800 ± 0.010 | 0.810 ± 0.020 | 0.820 ± 0.030 | 0.830 ± 0.040 |"
    assert f"| proportional odds | AUC | federated {row} 0.830 · 0.834 · – · 0.834 |" in text
    assert f"| proportional odds | AUC | pooled {row}  |" in text
    assert read_blueprint().source in text


def test_a_learner_that_cannot_be_compared_is_told_why(tmp_path: Path) -> None:
    found = Measured(name="LASSO", figure="R²", arms={"federated": FOUR})
    text = write_learners(of(found), root=tmp_path).read_text()
    assert "| not compared |" in text
    assert "- LASSO: the blueprint experiment counted which columns a LASSO keeps" in text


def test_every_learner_that_is_measured_is_compared_or_has_its_reason_and_no_other_is() -> None:
    blueprint = read_blueprint()
    assert not set(blueprint.figures) & set(blueprint.not_compared)
    assert {*blueprint.figures, *blueprint.not_compared} == {entry.name for entry in ENTRIES}
    assert all(len(figures) == 4 for figures in blueprint.figures.values())


def test_the_largest_gap_to_the_blueprint_is_told_and_none_is_above_two_hundredths() -> None:
    off = [(0.85, 0.0), *FOUR[1:]]
    found = Measured(name="logistic", figure="AUC", arms={"federated": off, "pooled": off})
    text = learners_page(of(found), read_blueprint())
    assert "The largest of 4 gaps to the last column is +0.065, of logistic at ε 1." in text
    kept = gaps(read_learners(), read_blueprint())
    assert len(kept) > 40
    assert max(map(abs, kept.values())) <= 0.02, "say why in docs/data/blueprint_learners.json"


def test_a_selection_says_where_it_keeps_all_columns() -> None:
    found = Measured(name="20 columns kept, proportional odds", figure="AUC", arms={"federated": FOUR})
    text = learners_page(of(found), read_blueprint())
    row = "| 0.800 ± 0.010 | 0.810 ± 0.020 | 0.820 ± 0.030 (all kept) | 0.830 ± 0.040 |"
    assert row in text
    assert "gaps to the last column" not in text, "nothing is compared"


def test_a_learner_that_nobody_compared_is_refused(tmp_path: Path) -> None:
    unknown = Measured(name="oracle", figure="R²", arms={"federated": FOUR})
    with pytest.raises(SettingsError) as caught:
        write_learners(of(unknown), root=tmp_path)
    assert caught.value.code == "settings.no-blueprint"
    assert not (tmp_path / "docs" / "learners.md").exists()


def test_figures_at_other_epsilons_are_not_put_beside_ours(tmp_path: Path) -> None:
    content = json.loads(BLUEPRINT.read_text()) | {"epsilons": [1, 3, 10, None]}
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(SettingsError, match="figures at ε"):
        read_blueprint(tmp_path / "other.json")


def test_the_page_in_the_documents_names_this_command_and_every_learner() -> None:
    shown = (PROJECT / "docs" / "learners.md").read_text()
    assert f"python -m {module.__name__}" in shown
    assert all(f"| {entry.name} |" in shown for entry in ENTRIES)


def test_the_page_is_what_is_kept_and_was_measured_with_the_shipped_encoder() -> None:
    kept = read_learners()
    page = (PROJECT / "docs" / "learners.md").read_text()
    assert page == learners_page(kept, read_blueprint()), f"run python -m {module.__name__}"
    assert kept.encoder_sha256 == compose_settings().encoder.sha256
    assert kept.size.populations >= 3
    assert [found.name for found in kept.measured] == [entry.name for entry in ENTRIES]
