"""The hip's surroundings: two sides alike, a body with air beside it, a leg that goes on."""

from dataclasses import replace

import numpy as np
import pytest

from server.synthetic.hip import (
    MIDLINE,
    HipAnatomy,
    body_outline,
    other_side,
    pose_femur,
    sockets,
    soft_tissue_cm,
    wings,
)
from server.synthetic.solids import Frame

HIP = HipAnatomy(
    side="right",
    cortical_mm=1.6,
    trabecular_share=0.14,
    texture_exponent=2.2,
    texture_contrast=0.3,
    shaft_cortex_ratio=3.0,
    pelvis_share=0.14,
    scale=1.0,
    neck_shaft_degrees=128.0,
    soft_tissue_cm=17.0,
)
X, Y = np.meshgrid(np.arange(-150, 375, dtype=np.float32), np.arange(-250, 251, dtype=np.float32))


def at(field, x, y):
    return field[y + 250, x + 150]


def test_soft_tissue_grows_with_bmi():
    rng = np.random.default_rng(10)
    slim = np.mean([soft_tissue_cm(20.0, rng) for _ in range(200)])
    obese = np.mean([soft_tissue_cm(40.0, rng) for _ in range(200)])
    assert obese - slim == pytest.approx(0.55 * 20.0, abs=0.5)


def test_the_neck_lies_half_way_between_trochanters_and_head():
    femur = pose_femur(HIP, np.random.default_rng(1))
    head, neck = femur.solids[0], femur.solids[1]
    assert neck.b == head.a
    assert femur.neck == pytest.approx(np.mean([neck.a, neck.b], axis=0))


def test_the_shaft_goes_on_past_the_longest_film_without_a_step():
    upper, lower = pose_femur(HIP, np.random.default_rng(1)).solids[-2:]
    assert upper.b == lower.a
    assert upper.radius[1] == lower.radius[0]
    assert lower.b[1] > 400.0


def test_the_other_hip_is_the_mirror_image_about_the_midline():
    frame = Frame(np.eye(2), np.zeros(2))
    other = other_side(frame, 0.0)
    row, column = other.pixel_of((22.0, -22.0))
    assert (row, column) == pytest.approx((-22.0, 2 * MIDLINE - 22.0))
    # a turned leg keeps its head in the socket
    assert other_side(frame, 8.0).pixel_of((22.0, -22.0)) == pytest.approx((row, column))
    assert other_side(frame, 8.0).pixel_of((0.0, 200.0)) != pytest.approx(other.pixel_of((0.0, 200.0)))


@pytest.mark.parametrize("part", [sockets, wings, body_outline])
def test_what_lies_around_a_hip_is_alike_on_both_sides(part):
    field = part(HIP, X, Y)
    mirrored = part(HIP, 2 * np.float32(MIDLINE) - X, Y)
    assert field == pytest.approx(mirrored, abs=1e-4)
    assert field.max() > 0


def test_air_lies_beside_the_body_and_between_the_thighs_only():
    outline = body_outline(HIP, X, Y)
    assert at(outline, 4, -8) == pytest.approx(1.0, abs=0.01)
    assert at(outline, -100, -8) == 0.0
    assert at(outline, int(MIDLINE), 200) == 0.0
    assert at(outline, int(MIDLINE), -100) > 1.0
    assert at(outline, -10, 200) > 0.8


def test_more_soft_tissue_makes_a_wider_body():
    slim, obese = (body_outline(replace(HIP, soft_tissue_cm=cm), X, Y) for cm in (12.0, 28.0))
    assert at(slim, -85, -8) == 0.0
    assert at(obese, -85, -8) > 0.3
