"""The spine: heights are as declared, fractures bend it, and a reader's classes overlap."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from server.synthetic.phantoms import spine
from server.synthetic.phantoms.outlines import depth_within
from server.synthetic.phantoms.scene import HeightLoss
from server.synthetic.phantoms.spine import (
    CLASSES,
    LEVELS,
    SPINE,
    _aorta,
    _apparent_loss,
    _draw_losses,
    body_rim,
    stack_bodies,
)

WEDGE = HeightLoss("L1", anterior=0.35, middle=0.20, posterior=0.05)
BICONCAVE = HeightLoss("T12", anterior=0.10, middle=0.30, posterior=0.0)


def measured_height(body, share):
    """Height of the drawn rim at a share of the body's length, on a grid of a tenth of a millimetre."""
    level = SPINE[body.name]
    rim = body_rim(body, level.length, spur=0.0)
    down = np.arange(-25.0, 25.0, 0.1)
    places = np.array([body.place((share - 0.5) * level.length, float(at)) for at in down], np.float32)
    return 0.1 * float((depth_within(rim, places[None, :, 0], places[None, :, 1]) > 0).sum())


@pytest.mark.parametrize("loss", [WEDGE, BICONCAVE])
def test_heights_of_the_drawn_vertebra_have_lost_what_is_declared(loss):
    for seed in range(5):
        whole, broken = (stack_bodies(lost, np.random.default_rng(seed)) for lost in ((), (loss,)))
        before, after = (next(b for b in bodies if b.name == loss.level) for bodies in (whole, broken))
        for share in (0.1, 0.5, 0.9):
            expected = after.height(share) / before.height(share)
            drawn = measured_height(after, share) / measured_height(before, share)
            assert drawn == pytest.approx(expected, abs=0.02)
        lost = [1 - a / b for a, b in zip(after.heights, before.heights, strict=True)]
        assert lost == pytest.approx([loss.anterior, loss.middle, loss.posterior])


def test_a_mask_is_as_high_as_its_vertebra(seen):
    scene, film = seen("spine", 2, pixels=0.6)
    mask = film.parts["L2"]
    area_mm2 = float(mask.sum()) * film.pixel_mm**2
    (bone,) = (bone for bone in scene.bones if bone.name == "L2")
    x, y = np.asarray(bone.outlines[0].points).T
    shoelace = 0.5 * abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)))
    zoom = area_mm2 / shoelace  # a person's size differs by 2 % (SD) from film to film
    assert 0.85 < zoom < 1.15


def test_a_wedge_bends_what_lies_below_forwards_and_nothing_above():
    whole, broken = (stack_bodies(lost, np.random.default_rng(7)) for lost in ((), (WEDGE,)))
    lean = {a.name: a.lean - b.lean for a, b in zip(broken, whole, strict=True)}
    assert lean["T11"] == lean["T12"] == 0.0
    assert lean["L2"] < -0.02


def test_levels_are_stacked_downwards_without_overlap():
    for seed in range(10):
        bodies = stack_bodies((), np.random.default_rng(seed))
        down = [body.centre[1] for body in bodies]
        assert down == sorted(down)
        for above, below in pairwise(bodies[:8]):
            apart = np.hypot(*np.subtract(above.centre, below.centre))
            assert apart > sum(body.heights[2] for body in (above, below)) / 2


def test_every_drawn_fracture_is_one_and_its_grades_fall_in_frequency():
    rng = np.random.default_rng(1)
    losses = [loss for _ in range(600) for loss in _draw_losses(rng)]
    grades = np.bincount([loss.grade for loss in losses], minlength=4)
    assert grades[0] == 0
    assert grades[1] > grades[3] > 0
    assert {loss.level for loss in losses} == set(LEVELS)


def test_classes_overlap_for_a_reader_but_severe_loss_is_hardly_missed():
    def read_as(loss):
        classes = []
        for seed in range(200):
            rng = np.random.default_rng(seed)
            apparent = _apparent_loss(stack_bodies((loss,) if loss else (), rng), rng)
            classes.append(int(np.searchsorted((0.20, 0.25), apparent, side="right")))
        return np.bincount(classes, minlength=3) / 200

    none, mild = read_as(None), read_as(HeightLoss("L1", 0.22, 0.12, 0.0))
    severe = read_as(HeightLoss("L1", 0.45, 0.30, 0.05))
    assert none[0] > 0.8
    assert none[1] + none[2] > 0.005, "some who have no fracture look as if"
    assert 0.1 < mild[0] < 0.7, "mild ones are often missed"
    assert severe[2] > 0.95


def test_a_person_with_the_finding_has_lost_height_and_one_without_has_not(seen):
    scene, film = seen("spine", 3, is_positive=True)
    assert scene.losses
    assert film.truth.has_fracture
    assert film.truth.class_name in CLASSES
    plain, _ = seen("spine", 3)
    assert not plain.losses
    assert not plain.has_fracture
    # a fractured vertebra is not measured: its bone lies closer
    measured = {bone.name for bone in scene.bones if bone.is_measured}
    assert not measured & {loss.level for loss in scene.losses}


def test_of_a_spine_whose_lumbar_bodies_are_all_fractured_these_are_measured(seen, monkeypatch):
    lumbar = ("L1", "L2", "L3", "L4")
    losses = tuple(replace(WEDGE, level=level) for level in lumbar)
    monkeypatch.setattr(spine, "_draw_losses", lambda rng: losses)
    scene, film = seen("spine", 3, is_positive=True)
    assert {bone.name for bone in scene.bones if bone.is_measured} == set(lumbar)
    assert 0.1 < film.truth.bmd_g_cm2 < 2.0
    assert film.pixels.std() > 50


def test_an_aorta_without_a_plaque_is_no_bone():
    bodies = stack_bodies((), np.random.default_rng(1))

    class NoPlaque:
        """Draws above every share."""

        def random(self) -> float:
            return 0.99

    assert _aorta(bodies, NoPlaque()) == []
