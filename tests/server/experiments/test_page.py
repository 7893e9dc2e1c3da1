"""Figures put into the README: between their markers, each where it belongs, nothing typed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from server.experiments.figures import Figure, Figures, Row
from server.experiments.page import shares_of_non_private, write_demo, write_page
from server.report.results import FurtherResult, Results
from shared.sums.estimate import Estimate


def figure(r2: float) -> Figure:
    return Figure(r2=(r2, r2 - 0.1, r2 + 0.1), mae=0.0512, auc=(0.8, 0.7, 0.9))


def row(arm: str, epsilon: float | None, r2: float, head: str = "linear") -> Row:
    return Row(
        head=head,
        arm=arm,
        epsilon=epsilon,
        internal=figure(r2),
        external=figure(r2 - 0.05),
        seeds_r2=(r2, r2 + 0.001),
    )


FIGURES = Figures(
    rows=(
        row("federated", None, 0.6),
        row("federated", 8.0, 0.57),
        row("federated", 3.0, 0.54),
        row("federated", 1.0, 0.45),
        row("pooled", None, 0.61),
        row("pooled", 1.0, 0.5),
        row("aster alone", 1.0, 0.2),
        row("aster alone", 3.0, 0.3),
        row("no hospital training", None, 0.0),
        row("birch alone", 1.0, 0.25),
    ),
    ceilings={"aster": {"r2": 0.9, "image_r2": 0.8, "clinical_r2": 0.3}},
    federated_minus_smallest_alone={"linear": (0.25, 0.2, 0.3)},
    n_internal=3000,
    n_external=3001,
    seeds=(101, 102),
    operating_points=(0.583, 0.71),
    measured_utc="2026-01-01T00:00:00+00:00",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(
        "# Top\n<!-- figures -->\nold\n<!-- /figures -->\nmiddle\n"
        "<!-- demo -->\nold demo\n<!-- /demo -->\nend\n"
    )
    return tmp_path


def test_only_the_block_between_the_markers_changes(root: Path) -> None:
    write_page(FIGURES, root=root)
    text = (root / "README.md").read_text()
    assert text.startswith("# Top\n<!-- figures -->\n| head | arm |")
    assert "<!-- /figures -->\nmiddle\n<!-- demo -->\nold demo\n<!-- /demo -->\nend\n" in text
    assert "\nold\n" not in text
    between = text.split("<!-- figures -->\n")[1].split("<!-- /figures -->")[0]
    assert between == (root / "docs" / "figures-readme.md").read_text()
    write_page(FIGURES, root=root)
    assert (root / "README.md").read_text() == text


def test_the_short_table_shows_the_chosen_arms(root: Path) -> None:
    write_page(FIGURES, root=root)
    lines = (root / "docs" / "figures-readme.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "| linear" in line]
    assert [(arm, epsilon) for _, arm, epsilon, *_ in cells] == [
        ("federated", "none promised"),
        ("federated", "8"),
        ("federated", "3"),
        ("federated", "1"),
        ("pooled", "none promised"),
        ("aster alone", "1"),
        ("no hospital training", "0"),
    ]
    assert cells[1][3] == "0.570 (0.470 to 0.670)"
    assert cells[1][4] == "0.520 (0.420 to 0.620)"
    assert cells[1][5] == "0.800 (0.700 to 0.900)"


def test_the_full_page_has_every_row_and_what_follows_from_them(root: Path) -> None:
    page = write_page(FIGURES, root=root)["figures.md"].read_text()
    assert page.count("| linear | ") == len(FIGURES.rows) + 3
    assert "| linear | federated | 0.600 (AUC 0.800) | 0.570 (AUC 0.800) | " in page
    assert "| linear | 95.0 % | 90.0 % | 75.0 % |" in page
    assert "| linear | 0.250 (0.200 to 0.300) |" in page
    assert "| aster | 0.900 | 0.800 | 0.300 |" in page
    assert "0.583, 0.710: the outputs" in page
    assert "3000 fresh internal and 3001 fresh external" in page


def test_shares_are_of_the_same_heads_federation_without_privacy() -> None:
    other = (row("federated", None, 0.8, "concatenation"), row("federated", 3.0, 0.6, "concatenation"))
    both = replace(FIGURES, rows=(*FIGURES.rows, *other))
    assert shares_of_non_private(both) == {
        "linear": pytest.approx({8.0: 0.95, 3.0: 0.9, 1.0: 0.75}),
        "concatenation": pytest.approx({3.0: 0.75}),
    }


def test_a_demos_outcome_is_two_tables_and_its_price(root: Path, results: Results) -> None:
    accuracy = {"accuracy": Estimate(status="measured", value=0.7, low=0.6, high=0.8)}
    more = FurtherResult(
        stage="internal", site="northgate", status="measured", release_class="dp", figures=accuracy
    )
    write_demo(results.model_copy(update={"further": (more,)}), 161.4, root=root)
    text = (root / "docs" / "demo-readme.md").read_text()
    assert text.count("\n| internal |") == 4
    assert "release |" not in text.split("\n")[0]
    assert "| northgate | ε = 3.00 per patient for training | 4.41 | 4.63 | 8.00 | 3.37 |" in text
    assert "validation tables: dp, ε = 3.00. 161 s on the machine" in text
    assert "old demo" not in (root / "README.md").read_text()
