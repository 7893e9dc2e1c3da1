"""What a table's cells mean: blocks, edges and the exact sensitivity, from the plan alone."""

from __future__ import annotations

import numpy as np
import pytest
from practice_plan import table_of
from practice_validation import rows_of_numbers, spec_of_numbers, spec_of_probabilities

from server.federation.compose import compose_settings
from shared.contract.settings import Settings
from shared.errors import SettingsError
from shared.measure.table.spec import MOMENT_WEIGHTS, sensitivity

BMD = spec_of_numbers()
PROBABILITY = spec_of_probabilities()
THREE = spec_of_probabilities("normal", "wedge", "crush", confusion=1.0, error=0.35)


def test_sensitivity_by_hand() -> None:
    # 1.8² + 1² + 0.5² + 1² + 0.35² + 0.35² + 1² + 0.5² = 6.985
    assert sensitivity(BMD) == pytest.approx(6.985**0.5)
    assert sensitivity(PROBABILITY) == 1.0
    assert sensitivity(THREE) == pytest.approx((1 + 1 + 0.35**2) ** 0.5)


def test_an_edge_lies_exactly_at_the_operating_point() -> None:
    assert 0.558 in BMD.inner_edges.tolist()
    assert BMD.inner_edges.size == 7
    assert (np.diff(BMD.inner_edges) > 0).all()
    assert PROBABILITY.inner_edges.tolist() == [0.25, 0.5, 0.75]


def test_length_of_a_table_is_public() -> None:
    assert BMD.n_cells == 16 + len(MOMENT_WEIGHTS) == 23
    assert PROBABILITY.n_cells == 8
    assert THREE.n_cells == 3 * 2 * 4 + 9 + 1


def test_shipped_groups_make_tables_with_an_edge_at_the_operating_point() -> None:
    settings = compose_settings()
    spec = table_of(settings)
    assert spec.cuts == (settings.task.operating_point, settings.task.grades[0].operating_point)
    assert set(spec.cuts) <= set(spec.inner_edges.tolist())
    classes = ["task=classification", "task.positive_class=osteoporosis"]
    probability = compose_settings([*classes, "validation=probability", "validation.bins=10"])
    assert table_of(probability).n_cells == 3 * 2 * 10 + 9 + 1
    plain = compose_settings(["task.operating_point=null"])
    assert plain.task.kind == "regression"
    found = table_of(plain).cuts[0]
    assert found == plain.task.operating_point == plain.task.endpoint_threshold


def test_a_block_that_the_task_has_not_is_refused() -> None:
    classes = ["experiment=bmd_classes"]
    for overrides, block in (
        ([], "confusion"),
        ([], "error"),
        (classes, "moments"),
    ):
        settings = compose_settings([*overrides, f"validation.blocks.{block}=1"])
        with pytest.raises(SettingsError, match=block):
            table_of(settings)
    bare = table_of(compose_settings([*classes, "validation.blocks.confusion=0"]))
    assert set(bare.parts) == {"ranking", "error"}
    settings = compose_settings(["validation.bins=4", "task.grades=[]"])
    assert table_of(settings).n_classes == 2


def unlooked_at(settings: Settings, **changes: float) -> Settings:
    """Settings whose validation says otherwise, as a stage may that no coordinator composed."""
    other = settings.validation.model_copy(update=changes)
    return settings.model_copy(update={"validation": other})


@pytest.mark.parametrize("side", ["score_low", "score_high"])
def test_an_operating_point_outside_the_scores_or_on_their_end_is_refused(side: str) -> None:
    settings = compose_settings(["task.grades=[]"])
    [cut] = table_of(settings).cuts
    beyond = cut + (0.01 if side == "score_low" else -0.01)
    for edge in (cut, beyond):
        with pytest.raises(SettingsError, match="the operating point"):
            table_of(unlooked_at(settings, **{side: edge}))


def test_graded_numbers_have_a_row_per_class_and_every_cut_on_an_edge() -> None:
    graded = spec_of_numbers(cuts=(0.6, 0.7), label_cuts=(0.558, 0.738), bins=4)
    assert graded.cut_bins == (2, 3)
    assert graded.inner_edges.tolist() == [pytest.approx(0.55), 0.6, 0.7]
    tight = spec_of_numbers(cuts=(0.51, 0.52), bins=4)
    assert tight.cut_bins == (1, 2)
    rows = rows_of_numbers(graded, np.array([0.6, 0.7, 0.71]), np.array([0.5, 0.7, 0.9]))
    assert [int(row[:12].argmax()) for row in rows] == [1, 4 + 2, 8 + 3]


def test_blocks_lie_one_after_the_other_and_fill_the_table() -> None:
    for spec in (BMD, PROBABILITY, THREE):
        ends = [0]
        for part in spec.parts.values():
            assert part.start == ends[-1]
            ends.append(part.stop)
        assert ends[-1] == spec.n_cells
    assert list(THREE.parts) == ["ranking", "confusion", "error"]
    assert list(BMD.parts) == ["ranking", "moments"]


def test_the_endpoint_stands_first_and_graded_classes_by_falling_severity() -> None:
    ordered = spec_of_probabilities("mild", "middle", "severe", is_ordered=True)
    assert ordered.order == (2, 1, 0)
    assert THREE.order == (2, 0, 1)
    assert spec_of_numbers(cuts=(0.6, 0.7)).order == (0, 1, 2)
    assert (ordered.cuts, THREE.cuts, PROBABILITY.cuts) == ((), (0.5,), (0.5,))


def test_more_cuts_than_bins_are_refused() -> None:
    milder = [
        {"name": f"grade{step}", "threshold": 0.6 + 0.01 * step, "operating_point": 0.61 + 0.01 * step}
        for step in range(4)
    ]
    grades = (
        "["
        + ",".join(
            "{" + ",".join(f"{name}:{value}" for name, value in each.items()) + "}" for each in milder
        )
        + "]"
    )
    settings = compose_settings([f"task.grades={grades}", "validation.bins=5"])
    with pytest.raises(SettingsError, match="above 5"):
        table_of(settings)
