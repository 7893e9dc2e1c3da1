"""The plot: every arm at every ε, at its height, and in words for readers who cannot see it."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from practice_figures import FIGURES, row

from server.experiments.plot import draw_epsilon_plot

SVG = "{http://www.w3.org/2000/svg}"


def test_each_arm_is_a_line_through_its_values_at_every_epsilon() -> None:
    drawn = ElementTree.fromstring(draw_epsilon_plot(FIGURES, head="cross_attention"))
    heights = [
        [float(pair.split(",")[1]) for pair in line.attrib["points"].split()]
        for line in drawn.iter(f"{SVG}polyline")
    ]
    assert [len(line) for line in heights] == [4, 4, 4]
    pooled, federated, alone = heights
    assert federated[0] > federated[1] > federated[2] > federated[3]  # higher values lie higher up
    assert all(low > high for low, high in zip(alone, pooled, strict=True))


def test_intervals_reach_from_low_to_high() -> None:
    drawn = draw_epsilon_plot(FIGURES, head="cross_attention")
    marks = re.findall(r'y1="([\d.]+)" y2="([\d.]+)" stroke="#[0-9a-f]+" stroke-width="2"', drawn)
    assert len(marks) == 12
    spans = [float(bottom) - float(top) for bottom, top in marks]
    assert spans == pytest.approx([0.2 / 0.7 * 246] * 12, abs=0.11)  # a tenth of a pixel is written


def test_the_plot_says_its_values_in_words() -> None:
    drawn = ElementTree.fromstring(draw_epsilon_plot(FIGURES, head="cross_attention"))
    said = drawn.findtext(f"{SVG}desc")
    assert said is not None
    assert "federated: ε 1: 0.450 (0.350 to 0.550), ε 3: 0.540" in said
    assert "no privacy: 0.400 (0.300 to 0.500)" in said


def test_an_arm_that_was_not_measured_is_not_left_out_in_silence() -> None:
    fewer = replace(FIGURES, rows=(row("pooled", 1.0, 0.5),))
    with pytest.raises(KeyError):
        draw_epsilon_plot(fewer, head="cross_attention")
