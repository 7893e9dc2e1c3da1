"""The plot: every arm at every ε, at its height, and in words for readers who cannot see it."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from practice_figures import FIGURES, row

from server.experiments.page import read_figures
from server.experiments.plot import (
    COLOURS,
    Axes,
    Point,
    draw_epsilon_plot,
    draw_plot,
    grid_over,
    series_of,
)
from shared.machine.files import PROJECT

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


def test_the_shipped_plot_is_drawn_by_the_same_code() -> None:
    shipped = (PROJECT / "docs" / "pictures" / "epsilon.svg").read_text()
    assert draw_epsilon_plot(read_figures(PROJECT), head="cross_attention") == shipped


def axes(*ticks: str, has_lines: bool = False) -> Axes:
    return Axes(
        title="R² of arms",
        y_label="R²",
        x_label="trained",
        ticks=ticks,
        grid=(0.0, 0.1, 0.2),
        has_lines=has_lines,
    )


def test_a_value_below_the_grid_lies_on_its_edge_and_is_said_as_it_is() -> None:
    low, middle, high = (axes("a").y(value) for value in (-3.0, 0.1, 0.2))
    assert low == axes("a").y(0.0)
    assert middle == pytest.approx((low + high) / 2)
    drawn = draw_plot(axes("a"), series_of({"one": ((-3.0, -4.0, -2.0),)}))
    assert "one: a: -3.000 (-4.000 to -2.000)" in drawn


def test_arms_stand_beside_each_other_and_a_tick_without_a_value_has_no_dot() -> None:
    point = (0.1, 0.05, 0.15)
    series = series_of({"one": (point, None), "two": (point, point), "three": (None, point)})
    assert [each.shift for each in series] == [-9, 0, 9]
    assert len({each.colour for each in series}) == 3
    drawn = ElementTree.fromstring(draw_plot(axes("left", "right"), series))
    assert len(list(drawn.iter(f"{SVG}circle"))) == 4
    assert not list(drawn.iter(f"{SVG}polyline")), "ticks are not of one quantity"
    joined = ElementTree.fromstring(draw_plot(axes("left", "right", has_lines=True), series))
    assert len(list(joined.iter(f"{SVG}polyline"))) == 3


@pytest.mark.parametrize(
    ("values", "grid"),
    [
        ([0.21, 0.48], (0.2, 0.3, 0.4, 0.5)),
        ([-7.0, 0.05], (-0.2, -0.1, 0.0, 0.1)),
        ([0.5], (0.5, 0.6)),
        ([], (-0.2, -0.1)),
    ],
)
def test_the_grid_is_tenths_around_the_values_from_a_least_on(
    values: list[float], grid: tuple[float, ...]
) -> None:
    assert grid_over(values, least=-0.2) == pytest.approx(grid)


def test_a_colour_that_comes_twice_is_a_ring_the_second_time() -> None:
    points: dict[str, tuple[Point | None, ...]] = {
        str(at): ((0.5, 0.4, 0.6),) for at in range(len(COLOURS) + 1)
    }
    many = series_of(points)
    assert [each.is_open for each in many] == [False] * len(COLOURS) + [True]
    assert many[-1].colour == many[0].colour
    axes = Axes(title="t", y_label="y", x_label="x", ticks=("a",), grid=(0.4, 0.6))
    drawn = draw_plot(axes, many)
    assert drawn.count('fill="#ffffff" stroke=') == 2, "at its tick, and beside its name"
    assert 'fill="#ffffff" stroke=' not in draw_plot(axes, many[:-1])
