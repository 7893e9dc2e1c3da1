"""Curves of a run: whose they are, which runs have none, and pictures that say what they show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from practice_report import NOISE, TABLE, answer, found_run

from server.report.curves import collect_curves, draw_curves


def test_a_noised_run_has_the_curves_of_all_sites_together(tmp_path: Path) -> None:
    store = found_run(tmp_path, noise=NOISE)
    for site in ("site-0", "site-1"):
        answer(store, site, TABLE)
    [internal] = collect_curves(store)
    assert (internal.kind, internal.sites) == ("internal", ("site-0", "site-1"))
    roc = internal.curves.roc
    assert (roc[0], roc[-1]) == ((0.0, 0.0), (1.0, 1.0))
    # 60 ill and 240 well by table; the top six bins call 48 of the ill and 60 of the well
    assert roc[6] == (pytest.approx(60 / 240), pytest.approx(48 / 60))
    assert len(internal.curves.calibration) == 12
    assert len(internal.curves.decision) == 11


def test_governed_statistics_and_small_noisy_sites_have_none(tmp_path: Path) -> None:
    governed = found_run(tmp_path / "a")
    answer(governed, "site-0", TABLE)
    small = found_run(tmp_path / "b", noise=NOISE, declared=(100, 100, 100))
    answer(small, "site-0", TABLE)
    assert collect_curves(governed) == collect_curves(small) == ()
    assert draw_curves(()) == []


def test_pictures_name_what_they_show_and_stay_inside_their_frame(tmp_path: Path) -> None:
    store = found_run(tmp_path, noise=NOISE)
    for site in ("site-0", "site-1"):
        answer(store, site, TABLE)
    answer(store, "site-3", TABLE, kind="external")
    drawn = dict(draw_curves(collect_curves(store)))
    assert list(drawn) == ["ROC", "Calibration", "Decision curve"]
    for picture in drawn.values():
        assert "<title>" in picture
        assert "<desc>internal: " in picture
        width, height = map(float, re.findall(r'viewBox="0 0 (\d+) (\d+)"', picture)[0])
        for x, y in re.findall(
            r"(-?[\d.]+),(-?[\d.]+)", " ".join(re.findall(r'points="([^"]*)"', picture))
        ):
            assert 0 <= float(x) <= width
            assert 0 <= float(y) <= height
    assert "treat all" in drawn["Decision curve"]
    assert "internal" in drawn["ROC"]
