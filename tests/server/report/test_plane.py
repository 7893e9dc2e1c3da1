"""The plane of two figures: points stand where their figures are, and are told in words."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from server.report.plane import PlanePoint, draw_plane

SVG = "{http://www.w3.org/2000/svg}"
POINTS = (
    PlanePoint(name="needs bone & ranks", x=(0.80, 0.75, 0.85), y=(0.15, 0.05, 0.25)),
    PlanePoint(name="needs none", x=(0.90, 0.85, 0.95), y=(-0.05, -0.15, 0.05)),
)


def drawn(points: tuple[PlanePoint, ...]) -> ET.Element:
    return ET.fromstring(draw_plane(points, title="a < b", x_label="AUC", y_label="Δ"))


def places(picture: ET.Element) -> list[tuple[float, float]]:
    return [
        (float(each.get("cx", "")), float(each.get("cy", ""))) for each in picture.iter(f"{SVG}circle")
    ]


def test_a_larger_figure_stands_further_to_the_right_and_higher() -> None:
    (x1, y1), (x2, y2) = places(drawn(POINTS))
    assert x1 < x2
    assert y1 < y2, "y grows downwards in a picture"


def test_a_point_is_the_middle_of_its_intervals_and_distances_are_in_proportion() -> None:
    picture = drawn(POINTS)
    lines = [each for each in picture.iter(f"{SVG}line") if each.get("opacity")]
    (x1, y1), (x2, y2) = places(picture)
    across, up = lines[0], lines[1]
    assert float(across.get("x1", "")) + float(across.get("x2", "")) == pytest.approx(2 * x1, abs=0.2)
    assert float(up.get("y1", "")) + float(up.get("y2", "")) == pytest.approx(2 * y1, abs=0.2)
    # an interval of .1 is as wide as the points are apart; one of .2 as high as they are
    assert float(across.get("x2", "")) - float(across.get("x1", "")) == pytest.approx(x2 - x1, abs=0.2)
    assert abs(float(up.get("y2", "")) - float(up.get("y1", ""))) == pytest.approx(y2 - y1, abs=0.2)


def test_every_figure_is_told_in_words_and_names_are_text() -> None:
    picture = drawn(POINTS)
    said = picture.findtext(f"{SVG}desc") or ""
    assert "needs bone & ranks: 0.800 (0.750 to 0.850) across, 0.150 (0.050 to 0.250) up" in said
    words = [each.text for each in picture.iter(f"{SVG}text")]
    assert {"1", "2", "1  needs bone & ranks", "2  needs none", "AUC", "Δ"} <= set(words)
    assert picture.findtext(f"{SVG}title") == "a < b"


def test_a_line_marks_nought_where_the_plane_has_it() -> None:
    strong = [each.get("stroke-width") for each in drawn(POINTS).iter(f"{SVG}line")]
    assert strong.count("1.2") == 1
    high = (PlanePoint(name="a", x=(0.8, 0.7, 0.9), y=(0.5, 0.3, 0.7)),)
    assert "1.2" not in [each.get("stroke-width") for each in drawn(high).iter(f"{SVG}line")]
    assert not places(drawn(()))
