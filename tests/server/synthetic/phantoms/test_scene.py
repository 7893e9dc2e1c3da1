"""What a scene is made of: grades as published, curved bones, limbs of round sections."""

import numpy as np
import pytest

from server.synthetic.phantoms.scene import HeightLoss, chain, limb_cm
from server.synthetic.solids import Solid


@pytest.mark.parametrize(
    ("worst", "grade"), [(0.0, 0), (0.19, 0), (0.20, 1), (0.24, 1), (0.26, 2), (0.39, 2), (0.41, 3)]
)
def test_grades_are_those_of_the_semiquantitative_method(worst: float, grade: int) -> None:
    assert HeightLoss("L1", worst, 0.0, 0.0).grade == grade
    assert HeightLoss("L1", 0.0, worst, 0.0).grade == grade


def test_a_chain_joins_its_points_and_tapers_between_them() -> None:
    solids = chain(((0.0, 0.0), (5.0, 0.0), (5.0, 9.0)), (3.0, 2.0, 1.0), (0.5,), (0.2,))
    assert [(solid.a, solid.b) for solid in solids] == [((0, 0), (5, 0)), ((5, 0), (5, 9))]
    assert [solid.radius for solid in solids] == [(3.0, 2.0), (2.0, 1.0)]
    assert {solid.cortex for solid in solids} == {(0.5, 0.5)}


def test_a_limb_is_as_thick_as_it_is_wide_and_air_lies_beside_it() -> None:
    limb = (Solid((0.0, -50.0), (0.0, 50.0), (30.0, 20.0), (0.0, 0.0), (0.0, 0.0)),)
    x = np.array([[0.0, 0.0, 0.0, 40.0]], np.float32)
    y = np.array([[-50.0, 0.0, 50.0, 0.0]], np.float32)
    assert limb_cm(limb, x, y)[0].tolist() == pytest.approx([6.0, 5.0, 4.0, 0.0])
