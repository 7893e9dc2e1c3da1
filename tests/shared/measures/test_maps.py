"""Maps against bone: the means of patients' agreements, who is not assessed, what may leave."""

from __future__ import annotations

import numpy as np
import pytest

from server.federation.compose import compose_settings
from shared.contract.decision import decision_of
from shared.errors import PolicyError, SettingsError
from shared.measures.maps import Maps, MapsSettings
from shared.measures.scored import MeasureTask, Scored
from shared.stages.measure import measure_task
from shared.sums.estimate import NOT_ASSESSED, TOO_NOISY
from shared.sums.federate import federate
from shared.sums.one_sum import OneSum

TASK = MeasureTask(decision_of(compose_settings()), ())
MEASURE = Maps.build(MapsSettings(kind="maps"), TASK)
OF_TABLES = ("task=bmd_classes", "encoder=none", "fusion=clinical_only", "learner=lda")
NAMES = ("IoU above chance", "pointing hit above chance", "energy in bone above chance")


def people(n: int, *, masked: float = 1.0, seed: int = 0) -> Scored:
    draw = np.random.default_rng(seed)
    maps = np.clip(draw.normal([0.3, 0.2, 0.0], 0.2, (n, 3)), -1.0, 1.0)
    label = draw.normal(0.7, 0.1, n)
    has_mask = np.arange(n) < masked * n
    return Scored(label[:, None], label, np.zeros((n, 0)), is_assessed=has_mask, maps=maps)


def total_of(patients: Scored) -> np.ndarray:
    return federate(OneSum(MEASURE), [patients], n_declared=1.0).vector


def test_figures_are_the_means_of_the_assessed_alone() -> None:
    patients = people(400, masked=0.75)
    found = MEASURE.read(total_of(patients), sd=0.0, minimum_cell=10, n_expected=400)
    assert (found["n, assessed"].value, found["n, not assessed"].value) == (300, 100)
    for name, column in zip(NAMES, patients.maps[:300].T, strict=True):
        assert found[name].value == pytest.approx(column.mean(), abs=1e-9)


def test_nobody_exceeds_the_norm_and_full_agreement_has_all_of_it() -> None:
    label = np.array([0.7, 0.7, 0.7, np.nan])
    maps = np.array([[1.0, -1.0, 1.0], [9.0, np.nan, -np.inf], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    has_mask = np.array([True, True, False, True])
    patients = Scored(label[:, None], label, np.zeros((4, 0)), is_assessed=has_mask, maps=maps)
    lengths = np.linalg.norm(MEASURE.rows_of(patients), axis=1)
    assert lengths[[0, 2]] == pytest.approx([MEASURE.norm] * 2)
    assert lengths[1] <= MEASURE.norm
    assert lengths[3] == 0.0


@pytest.mark.parametrize("sd", [0.0, 3.0])
def test_a_cohort_without_masks_is_not_assessed_whatever_the_noise(sd: float) -> None:
    noise = sd * np.random.default_rng(0).normal(size=MEASURE.n_cells)
    noise[0] = abs(noise[0]) % (0.4 * sd) if sd else 0.0
    total = total_of(people(300, masked=0.0)) + noise
    found = MEASURE.read(total, sd=sd, minimum_cell=10, n_expected=300)
    assert {found[name] for name in NAMES} == {NOT_ASSESSED}
    assert found["n, not assessed"].value == pytest.approx(300, abs=10)


def test_what_noise_was_expected_to_swallow_is_not_said() -> None:
    total = total_of(people(4000))
    found = MEASURE.read(total, sd=30.0, minimum_cell=10, n_expected=150)
    assert {found[name] for name in NAMES} == {TOO_NOISY}


def test_an_exact_total_of_a_few_assessed_or_a_few_others_stays() -> None:
    for masked in (0.1, 0.9):
        with pytest.raises(PolicyError) as caught:
            MEASURE.suppress(total_of(people(50, masked=masked)), 10)
        assert caught.value.code == "policy.cell-too-small"
    total = total_of(people(50, masked=0.5))
    assert MEASURE.suppress(total, 10) is total


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["experiment=hip_table"], "settings.needs-films"),
        (["features=radiomics", *OF_TABLES], "settings.needs-image-tokens"),
    ],
)
def test_a_model_that_reads_no_film_or_of_it_what_has_no_place_has_no_maps(
    words: list[str], code: str
) -> None:
    task = measure_task(compose_settings(words))
    with pytest.raises(SettingsError) as caught:
        Maps.build(MapsSettings(kind="maps"), task)
    assert caught.value.code == code


def test_a_model_of_cells_has_maps() -> None:
    cells = "features.sources=[{kind:encoder,encoder:standin_resnet,token_grid:4,components:2}]"
    settings = compose_settings([cells, *OF_TABLES])
    Maps.build(MapsSettings(kind="maps"), measure_task(settings))
    assert settings.map_grid == 4
