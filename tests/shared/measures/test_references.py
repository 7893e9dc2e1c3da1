"""The product's statistics are those of R and scikit-learn, and docs/references.md says so."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
from practice_references import (
    FOLDER,
    OWN_DATA,
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

PROGRAMS = {
    "r": ("R", "pROC", "metafor"),
    "sklearn": ("scikit-learn", "numpy"),
    "lifelines": ("lifelines", "numpy"),
}
# Ours are cut into years: held against it, within a hundredth, by the measure's own test.
OF_EXACT_TIMES = {"aalen_johansen_of_exact_times"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name} ({row.tool})")
def test_a_statistic_is_that_of_the_reference(row: Row) -> None:
    found = compare(row)
    assert found.difference <= TOLERANCE
    assert np.isfinite(found.ours).all()


def test_every_stored_answer_is_held_against_something() -> None:
    for tool in TOOLS:
        held = {row.answer for row in ROWS if row.tool == tool}
        assert answers_of(tool)["answers"].keys() - OF_EXACT_TIMES == held


@pytest.mark.parametrize("tool", TOOLS)
def test_answers_are_of_these_data_and_say_who_gave_them(tool: str) -> None:
    born = certificate_of(tool)
    if tool in OWN_DATA:
        assert answers_of(tool)["data"], "answers to no data"
    else:
        assert born.pop("data_sha256") == data_sha256(), "answers to other data"
    assert set(born) == {"tool", "script", "date", "script_sha256"}
    script = (FOLDER / born["script"]).read_bytes()
    assert born["script_sha256"] == hashlib.sha256(script).hexdigest(), "answers of another script"
    named = ", ".join(rf"{re.escape(name)} \d+(\.\d+)+" for name in PROGRAMS[tool])
    assert re.fullmatch(named, born["tool"]), "every program with its version"


def test_two_programs_give_one_answer_where_both_have_it() -> None:
    both = {row.answer for row in ROWS if row.tool == "r"} & {
        row.answer for row in ROWS if row.tool == "sklearn"
    }
    assert {"auc", "r2", "mae", "rmse"} <= both
    for name in both:
        r, python = (
            np.ravel(answers_of(tool)["answers"][name]).astype(float) for tool in ("r", "sklearn")
        )
        np.testing.assert_allclose(r, python, rtol=1e-12)


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
