"""The product's statistics are those of R and scikit-learn, and docs/references.md says so."""

from __future__ import annotations

import numpy as np
import pytest
from practice_references import (
    FOLDER,
    PAGE,
    TOLERANCE,
    TOOLS,
    Row,
    answers_of,
    certificate_of,
    compare,
    data,
    data_sha256,
    page,
)
from reference_rows import ROWS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name} ({row.tool})")
def test_a_statistic_is_that_of_the_reference(row: Row) -> None:
    found = compare(row)
    assert found.difference <= TOLERANCE
    assert np.isfinite(found.ours).all()


def test_every_stored_answer_is_held_against_something() -> None:
    for tool in TOOLS:
        assert answers_of(tool)["answers"].keys() == {row.answer for row in ROWS if row.tool == tool}


@pytest.mark.parametrize("tool", TOOLS)
def test_answers_are_of_these_data_and_say_who_gave_them(tool: str) -> None:
    born = certificate_of(tool)
    assert born["data_sha256"] == data_sha256()
    assert (FOLDER / born["script"]).exists()
    assert born["tool"]
    assert born["date"] >= "2026-11-26"


def test_the_page_is_what_the_generator_writes() -> None:
    assert PAGE.read_text() == page(ROWS), "run make references"


def test_a_wrong_figure_would_be_seen() -> None:
    row = next(row for row in ROWS if row.answer == "mae")
    wrong = Row(
        name=row.name,
        answer=row.answer,
        tool=row.tool,
        function="",
        ours=lambda d: row.ours(d)[0] + 1e-9,
    )
    assert compare(wrong).difference > TOLERANCE
    assert "**" in page([wrong])
    shorter = Row(name="", answer="holm", tool="r", function="", ours=lambda d: d["p_values"][:3])
    with pytest.raises(ValueError, match="3 figures beside 7"):
        compare(shorter)


def test_the_data_try_what_is_hard() -> None:
    d = data()
    assert np.unique(d["rival"]).size < d["rival"].size / 5, "ties"
    assert np.bincount((64 * d["probability"]).astype(int), minlength=64).min() == 0, "empty bins"
    found = {row.answer: compare(row).ours for row in ROWS}
    assert found["pooled_tau2"][0] > 0.01, "sites that differ"
    assert found["pooled_tau2"][1] == 0.0, "sites that do not"
