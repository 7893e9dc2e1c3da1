"""The summary beside a release: signed, of that release, of several hospitals together."""

from __future__ import annotations

from pathlib import Path

import pytest
from practice_site import coordinator_key, site_key
from pydantic import ValidationError

from shared.contract.validation_summary import (
    SUMMARY_FILE,
    SummaryFigure,
    SummaryRow,
    ValidationSummary,
    read_summary,
    write_summary,
)
from shared.errors import WeightsError

ROW = SummaryRow(
    kind="internal",
    n_sites=3,
    release_class="dp",
    epsilon=3.0,
    figures={"auc": SummaryFigure(value=0.841, low=0.79, high=0.88), "mae": SummaryFigure(value=0.1)},
)
SUMMARY = ValidationSummary(release_sha256="a" * 64, run="spring", rows=(ROW,))


def code_of(folder: Path, sha256: str, key: str) -> str:
    with pytest.raises(WeightsError) as caught:
        read_summary(folder, sha256, coordinator_key=key)
    return caught.value.code


def test_a_summary_is_read_back_in_words_and_none_is_no_error(tmp_path: Path) -> None:
    key = coordinator_key(tmp_path)
    assert read_summary(tmp_path, "a" * 64, coordinator_key=key.public_hex) is None
    write_summary(tmp_path, SUMMARY, key)
    found = read_summary(tmp_path, "a" * 64, coordinator_key=key.public_hex)
    assert found == SUMMARY
    assert found.facts() == {"internal, 3 sites": "auc 0.84 (0.79 to 0.88), mae 0.10"}


def test_a_summary_of_another_release_or_signer_is_refused(tmp_path: Path) -> None:
    key = coordinator_key(tmp_path)
    write_summary(tmp_path, SUMMARY, key)
    assert code_of(tmp_path, "b" * 64, key.public_hex) == "weights.mixed-release"
    assert code_of(tmp_path, "a" * 64, site_key(tmp_path).public_hex) == "weights.bad-signature"
    path = tmp_path / SUMMARY_FILE
    path.write_text(path.read_text().replace("0.841", "0.941"))
    assert code_of(tmp_path, "a" * 64, key.public_hex) == "weights.bad-signature"


def test_a_row_of_one_hospital_says_that_nothing_is_pooled_and_of_none_there_is_no_row() -> None:
    one = ROW.model_copy(update={"kind": "external", "n_sites": 1})
    summary = SUMMARY.model_copy(update={"rows": (one,)})
    assert list(summary.facts()) == ["external, 1 site, not pooled"]
    with pytest.raises(ValidationError):
        SummaryRow(kind="external", n_sites=0, release_class="dp", figures={})
