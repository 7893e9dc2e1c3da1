"""Figures put into the README: between their markers, each where it belongs, nothing typed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from practice_figures import FIGURES, row

from server.experiments.page import (
    demo_block,
    figure_pages,
    read_demo,
    read_figures,
    shares_of_non_private,
    write_demo,
    write_figures,
)
from server.report.results import FurtherResult, Results
from shared.sums.estimate import Estimate


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text(
        "# Top\n<!-- figures -->\nold\n<!-- /figures -->\nmiddle\n"
        "<!-- demo -->\nold demo\n<!-- /demo -->\nend\n"
    )
    return tmp_path


def test_only_the_block_between_the_markers_changes(root: Path) -> None:
    write_figures(FIGURES, root=root)
    text = (root / "README.md").read_text()
    assert text.startswith("# Top\n<!-- figures -->\n![R² against ε")
    assert "<!-- /figures -->\nmiddle\n<!-- demo -->\nold demo\n<!-- /demo -->\nend\n" in text
    assert "\nold\n" not in text
    write_figures(FIGURES, root=root)
    assert (root / "README.md").read_text() == text


def test_the_plot_has_its_numbers_where_privacy_is_strictest_beside_it(root: Path) -> None:
    write_figures(FIGURES, root=root)
    [line] = [text for text in (root / "README.md").read_text().splitlines() if text[:2] == "R²"]
    r2 = {each.arm: each.internal.r2 for each in FIGURES.rows if each.epsilon == 1.0}
    assert line.startswith("R² at ε = 1: ")
    assert f"federated {r2['federated'][0]:.3f} (" in line
    assert f"smallest hospital alone {r2['aster alone'][0]:.3f} (" in line


def test_what_was_measured_is_kept_and_gives_the_same_pages_again(root: Path) -> None:
    written = write_figures(FIGURES, root=root)
    kept = read_figures(root)
    assert kept == FIGURES
    for name, text in figure_pages(kept).items():
        assert written[Path(name).name].read_text() == text


def test_the_full_page_has_every_row_and_what_follows_from_them(root: Path) -> None:
    page = write_figures(FIGURES, root=root)["figures.md"].read_text()
    assert page.count("| cross_attention | ") == len(FIGURES.rows) + 5
    assert "| cross_attention | federated | 0.600 (AUC 0.800) | 0.570 (AUC 0.800) | " in page
    assert "| cross_attention | 95.0 % | 90.0 % | 75.0 % |" in page
    assert "| cross_attention | 0.250 (0.200 to 0.300) |" in page
    assert "| aster | 0.900 | 0.800 | 0.300 |" in page
    assert "0.583, 0.710: the outputs" in page
    assert "3000 fresh internal and 3001 fresh external" in page


def test_shares_are_of_the_same_heads_federation_without_privacy() -> None:
    other = (row("federated", None, 0.8, "concatenation"), row("federated", 3.0, 0.6, "concatenation"))
    both = replace(FIGURES, rows=(*FIGURES.rows, *other))
    assert shares_of_non_private(both) == {
        "cross_attention": pytest.approx({8.0: 0.95, 3.0: 0.9, 1.0: 0.75}),
        "concatenation": pytest.approx({3.0: 0.75}),
    }


@pytest.fixture
def outcome(root: Path, results: Results) -> str:
    """The page of a demo that also measured something else; the README is filled."""
    accuracy = {"accuracy": Estimate(status="measured", value=0.7, low=0.6, high=0.8)}
    more = FurtherResult(
        stage="internal", site="northgate", status="measured", release_class="dp", figures=accuracy
    )
    write_demo(results.model_copy(update={"further": (more,)}), 161.4, root=root)
    return (root / "docs" / "demo-readme.md").read_text()


def test_a_demos_outcome_is_two_tables_and_its_time(outcome: str) -> None:
    assert outcome.count("\n| internal |") == 4
    assert "release |" not in outcome
    assert "| northgate | ε = 3.00 per patient for training | 4.41 | 4.63 | 8.00 | 3.37 |" in outcome
    assert "validation tables: dp, ε = 3.00. 161 s on the machine" in outcome


def test_the_readme_shows_the_pooled_row_of_each_kind_alone(outcome: str, root: Path) -> None:
    text = (root / "README.md").read_text()
    assert "old demo" not in text
    assert [
        line.split("|")[2].strip() for line in text.splitlines() if line.startswith("| internal")
    ] == ["all sites, pooled"]
    assert "| internal | northgate" not in text
    assert demo_block(read_demo(root)) in text
