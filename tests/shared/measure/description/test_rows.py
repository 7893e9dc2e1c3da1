"""The description of a cohort: bounded rows, honest intervals, pandas' own figures without noise."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from practice_tables import sum_table

from server.federation.compose import compose_settings
from server.federation.plan import resolve_stages
from shared.contract.settings import ValidationSettings
from shared.contract.stages import DescriptionStage
from shared.errors import OsteoFedError
from shared.measure.description.reading import Description, nearest_positive, read_description
from shared.measure.description.rows import (
    CategoryCells,
    DescriptionSpec,
    NumberCells,
    contributions,
    description_spec,
    sensitivity,
    withhold_small_groups,
)
from shared.measure.table.rows import pool_tables

CONFIGS = Path(__file__).parents[4] / "configs"


def number(name: str, mean: float, sd: float, *, reach: float = 3, missing: bool) -> NumberCells:
    return NumberCells(
        name=name,
        unit="u",
        low=mean - reach * sd,
        high=mean + reach * sd,
        reference_mean=mean,
        reference_sd=sd,
        may_be_missing=missing,
    )


SPEC = DescriptionSpec(
    endpoint="osteoporosis",
    fields=(
        number("age", 68, 9, missing=False),
        CategoryCells(name="sex", categories=("female", "male"), may_be_missing=False),
        number("weight", 72, 15, missing=True),
        CategoryCells(name="smoking", categories=("never", "former", "current"), may_be_missing=True),
    ),
    target=number("bmd", 0.675, 0.11, missing=False),
    has_second_moments=True,
)
CLASSES = replace(SPEC, target=None)
PLAIN = replace(SPEC, has_second_moments=False)
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True, width=64)


def population(n: int, generator: np.random.Generator) -> pd.DataFrame:
    """Patients in their own units; weight and smoking may be missing, weight has a long tail."""
    age = generator.normal(70, 8, n)
    sex = generator.random(n) < 0.25
    weight = 45 + generator.gamma(3.0, 10.0, n)
    smoking = generator.choice(3, n, p=[0.6, 0.25, 0.15]).astype(float)
    bmd = 0.68 - 0.004 * (age - 70) + 0.05 * sex + generator.normal(0, 0.09, n)
    weight[generator.random(n) < 0.15] = np.nan
    smoking[generator.random(n) < 0.2] = np.nan
    return pd.DataFrame({"age": age, "sex": sex, "weight": weight, "smoking": smoking, "bmd": bmd})


def rows_of(patients: pd.DataFrame, spec: DescriptionSpec = SPEC) -> np.ndarray:
    standard = np.stack(
        [
            (patients["age"] - 68) / 9,
            patients["sex"].astype(float),
            (patients["weight"] - 72) / 15,
            patients["smoking"],
        ],
        axis=1,
    )
    bmd = patients["bmd"].to_numpy()
    return contributions(
        spec,
        fields=standard,
        field_mask=~np.isnan(standard),
        target=bmd,
        is_positive=bmd <= 0.558,
    )


def read(
    table: np.ndarray, spec: DescriptionSpec = SPEC, sd: float = 0.0, cell: int = 1
) -> Description:
    return read_description(table, spec, noise_sd=sd, minimum_cell=cell)


def clipped(patients: pd.DataFrame) -> pd.DataFrame:
    """As a description sees them: within the public bounds."""
    seen = patients.copy()
    for cells in (*SPEC.fields, SPEC.target):
        if isinstance(cells, NumberCells):
            seen[cells.name] = seen[cells.name].clip(cells.low, cells.high)
    return seen


def test_sensitivity_by_hand() -> None:
    # count 1, endpoint 1, two numbers and the target 1² + 0.7² each, two categories 1, moments 3²
    assert sensitivity(PLAIN) == pytest.approx(math.sqrt(1 + 1 + 3 * 1.49 + 2))
    assert sensitivity(SPEC) == pytest.approx(math.sqrt(1 + 1 + 3 * 1.49 + 2 + 9))
    assert sensitivity(CLASSES) == pytest.approx(math.sqrt(1 + 1 + 2 * 1.49 + 2 + 9))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_no_row_exceeds_the_sensitivity_whatever_the_values(data: st.DataObject) -> None:
    spec = data.draw(st.sampled_from([SPEC, CLASSES, PLAIN]))
    n = 5
    made = contributions(
        spec,
        fields=data.draw(hnp.arrays(np.float64, (n, 4), elements=ANY_FLOAT)),
        field_mask=data.draw(hnp.arrays(np.bool_, (n, 4))),
        target=data.draw(hnp.arrays(np.float64, n, elements=ANY_FLOAT)),
        is_positive=data.draw(hnp.arrays(np.bool_, n)),
    )
    assert made.shape == (n, spec.n_cells)
    assert np.isfinite(made).all()
    assert np.linalg.norm(made, axis=1).max() <= sensitivity(spec) * (1 + 1e-12)


def test_sensitivity_is_attained_by_an_extreme_patient() -> None:
    for spec in (SPEC, PLAIN):
        made = contributions(
            spec,
            fields=np.array([[9.0, 1.0, -9.0, 2.0]]),
            field_mask=np.ones((1, 4), dtype=bool),
            target=np.array([2.0]),
            is_positive=np.array([False]),
        )
        assert np.linalg.norm(made) == pytest.approx(sensitivity(spec), rel=1e-12)


def test_whoever_lacks_a_label_or_a_required_value_leaves_no_trace() -> None:
    patients = population(50, np.random.default_rng(1))
    lacking = patients.copy()
    lacking.loc[10:19, "bmd"] = np.nan
    lacking.loc[20:24, "age"] = np.nan
    made = rows_of(lacking)
    assert not made[10:25].any()
    assert (made[:10] == rows_of(patients)[:10]).all()


def test_what_is_no_number_or_no_category_is_missing() -> None:
    patients = population(4, np.random.default_rng(2)).assign(weight=70.0, smoking=0.0)
    lacking = patients.assign(weight=[np.nan, np.inf, -np.inf, 70.0], smoking=[np.nan, -1, 3, np.inf])
    rows = rows_of(lacking)
    weight, smoking = SPEC.first_cells[2], SPEC.first_cells[3]
    assert (rows[:3, weight : weight + 2] == 0).all()
    assert (rows[:, weight + 2] > 0).tolist() == [True, True, True, False]
    assert (rows[:, smoking : smoking + 4] == [0, 0, 0, 1]).all()


def test_without_noise_figures_are_those_of_pandas() -> None:
    patients = population(700, np.random.default_rng(3))
    found, seen = read(sum_table(rows_of(patients))), clipped(patients)
    assert found.n_patients.value == pytest.approx(700)
    positive = patients["bmd"] <= 0.558
    assert found.n_positive.value == pytest.approx(positive.sum())
    assert found.prevalence.value == pytest.approx(positive.mean())
    for each in (*found.numbers, found.target):
        assert each.mean.value == pytest.approx(seen[each.name].mean(), rel=1e-9), each.name
        assert each.sd.value == pytest.approx(seen[each.name].std(ddof=1), rel=1e-9), each.name
        assert each.mean.low < each.mean.value < each.mean.high
        assert each.sd.low < each.sd.value < each.sd.high
    age, weight = found.numbers
    assert age.missing.status == "not-applicable"
    assert weight.missing.value == pytest.approx(patients["weight"].isna().mean())
    sex, smoking = found.categories
    assert list(sex.shares) == ["female", "male"]
    assert sex.shares["male"].value == pytest.approx(patients["sex"].mean())
    counts = patients["smoking"].value_counts(normalize=True)
    for code, name in enumerate(("never", "former", "current")):
        assert smoking.shares[name].value == pytest.approx(counts[float(code)])
    assert smoking.missing.value == pytest.approx(patients["smoking"].isna().mean())


def test_without_noise_second_moments_are_the_covariance_of_bounded_vectors() -> None:
    patients = population(400, np.random.default_rng(4))
    moments = read(sum_table(rows_of(patients))).second_moments
    seen = clipped(patients)
    vector = pd.DataFrame({"age": (seen["age"] - 68) / 9})
    vector["sex=female"], vector["sex=male"] = 1.0 - seen["sex"], 1.0 * seen["sex"]
    vector["weight"] = ((seen["weight"] - 72) / 15).fillna(0.0)
    for code, name in enumerate(("never", "former", "current")):
        vector[f"smoking={name}"] = 1.0 * (seen["smoking"] == code)
    vector["bmd"] = (seen["bmd"] - 0.675) / 0.11
    assert moments.names == tuple(vector.columns)
    # R² − 1: two one-hots, two for each of three numbers
    longest = math.sqrt(8)
    length = np.sqrt((vector**2).sum(axis=1))
    assert 0 < (length > longest).mean() < 0.15
    bounded = vector.mul(np.minimum(1, longest / length), axis=0)
    assert np.allclose(moments.mean, bounded.mean())
    assert np.allclose(moments.covariance, bounded.cov(ddof=0), atol=1e-12)
    assert moments.entry_sd == 0.0


def test_pooled_tables_are_the_description_of_all_patients_in_any_order() -> None:
    patients = population(600, np.random.default_rng(5))
    parts = [patients[:100], patients[100:450], patients[450:]]
    tables = [(sum_table(rows_of(part)), 3.0) for part in parts]
    pooled, sd = pool_tables(tables)
    assert sd == pytest.approx(3.0 * math.sqrt(3))
    assert (pooled == pool_tables(tables[::-1])[0]).all()
    whole = read(sum_table(rows_of(patients)))
    assert read(pooled).target.mean.value == pytest.approx(whole.target.mean.value)
    assert read(pooled).prevalence.value == pytest.approx(whole.prevalence.value)


@pytest.mark.parametrize(("n", "noise_multiplier"), [(500, 0.0), (400, 1.45), (1500, 3.73)])
def test_intervals_cover_the_truth_with_privacy_noise(n: int, noise_multiplier: float) -> None:
    generator = np.random.default_rng(6)
    truth = figures_of(read(sum_table(rows_of(population(400_000, generator), PLAIN)), PLAIN))
    site_sd = noise_multiplier * sensitivity(PLAIN)
    inside: dict[str, list[bool]] = {name: [] for name in truth}
    for _ in range(320):
        parts = np.split(rows_of(population(n, generator), PLAIN), [n // 5, n // 2])
        noisy = [
            (sum_table(part) + generator.normal(0, site_sd, PLAIN.n_cells), site_sd) for part in parts
        ]
        pooled, sd = pool_tables(noisy)
        for name, (_, low, high) in figures_of(read(pooled, PLAIN, sd, cell=10)).items():
            if low is not None:
                inside[name].append(low <= truth[name][0] <= high)
    for name, hits in inside.items():
        assert len(hits) >= 300, name
        assert np.mean(hits) >= 0.92, name


def figures_of(found: Description) -> dict[str, tuple[float | None, float | None, float | None]]:
    named = {"prevalence": found.prevalence}
    for each in (*found.numbers, found.target):
        named |= {f"{each.name} mean": each.mean, f"{each.name} sd": each.sd}
    named["weight missing"] = found.numbers[1].missing
    for each in found.categories:
        named |= {f"{each.name} {category}": share for category, share in each.shares.items()}
    named["smoking missing"] = found.categories[1].missing
    return {name: (each.value, each.low, each.high) for name, each in named.items()}


def test_intervals_are_no_wider_than_they_must_be() -> None:
    # 1.96·s/√n for a mean without noise; with it, √ of the sum of both variances
    patients = population(900, np.random.default_rng(7))
    table = sum_table(rows_of(patients, PLAIN))
    age = read(table, PLAIN).numbers[0]
    assert age.mean.high - age.mean.low == pytest.approx(2 * 1.96 * age.sd.value / 30, rel=0.01)
    noisy = read(table, PLAIN, sd=20.0).numbers[0].mean
    u = (age.mean.value - 68) / 27
    noise = 20 * 27 * math.sqrt(1 + u**2) / 900
    expected = 2 * 1.96 * math.hypot(age.sd.value / 30, noise)
    assert noisy.high - noisy.low == pytest.approx(expected, rel=0.01)
    assert noisy.value == pytest.approx(age.mean.value)


def test_the_noise_of_a_share_is_counted_once_though_it_is_in_both_counts() -> None:
    # 225 of 900: hits − θ·(hits + others) has noise variance σ²·((1 − θ)² + θ²)
    patients = population(900, np.random.default_rng(17))
    patients["sex"] = np.arange(900) < 225
    share = read(sum_table(rows_of(patients, PLAIN)), PLAIN, sd=20.0).categories[0].shares["male"]
    expected = 2 * 1.96 * math.sqrt(400 * (0.75**2 + 0.25**2) + 900 * 0.25 * 0.75) / 900
    assert share.high - share.low == pytest.approx(expected, rel=0.02)


def test_noised_means_and_sds_are_unbiased() -> None:
    generator = np.random.default_rng(8)
    patients = population(800, generator)
    exact = sum_table(rows_of(patients, PLAIN))
    truth = read(exact, PLAIN)
    sd, drawn = 8.0, []
    for _ in range(2000):
        found = read(exact + generator.normal(0, sd, exact.size), PLAIN, sd, cell=10)
        drawn.append((found.target.mean.value, found.target.sd.value))
    means, sds = np.array(drawn, dtype=float).T
    error = 3 * means.std() / math.sqrt(2000)
    assert means.mean() == pytest.approx(truth.target.mean.value, abs=error)
    # the variance is, its root is not: a root is concave
    assert np.square(sds).mean() == pytest.approx(
        truth.target.sd.value**2, abs=3 * np.square(sds).std() / math.sqrt(2000)
    )


def test_a_margin_is_that_of_drawn_noise_where_patients_are_many() -> None:
    """A million times the cohort: nothing but the noise moves a figure, and in a straight line."""
    generator = np.random.default_rng(21)
    many = 1e6 * sum_table(rows_of(population(400, generator), PLAIN))
    sd, z, draws = 4e5, NormalDist().inv_cdf(0.975), []
    for _ in range(1200):
        draws.append(figures_of(read(many + generator.normal(0, sd, many.size), PLAIN, sd)))
    exact = figures_of(read(many, PLAIN))
    for name in exact:
        values, lows, highs = np.array([each[name] for each in draws], dtype=float).T
        assert (highs - lows).mean() / (2 * z) == pytest.approx(values.std(), rel=0.08), name
        assert values.mean() == pytest.approx(exact[name][0], abs=values.std() / 7), name


def test_the_square_of_a_means_own_noise_is_taken_off_its_sd() -> None:
    # E[(Σu + noise)²] = (Σu)² + 12², over 400² patients squared; 27 years per u
    table = sum_table(rows_of(population(400, np.random.default_rng(16)), PLAIN))
    exact, noisy = read(table, PLAIN).numbers[0].sd, read(table, PLAIN, sd=12.0).numbers[0].sd
    added = (12 / 400) ** 2 * 27**2 * 400 / 399
    assert noisy.value**2 - exact.value**2 == pytest.approx(added)


def test_what_is_below_the_minimum_or_noise_is_suppressed_and_never_zero() -> None:
    patients = population(300, np.random.default_rng(9)).assign(smoking=0.0)
    patients.loc[:4, "smoking"] = 2.0
    found = read(sum_table(rows_of(patients)), cell=10)
    smoking = found.categories[1]
    assert smoking.shares["never"].status == "measured"
    assert {smoking.shares[name].status for name in ("former", "current")} == {"suppressed"}
    assert smoking.missing.status == "suppressed"
    few = read(sum_table(rows_of(patients[:9])), cell=10)
    assert {value for _, value, _ in figures_of(few).values()} == {None}
    assert few.n_patients.status == few.n_positive.status == "suppressed"
    assert few.second_moments is None
    # 300 patients under noise of SD 200: the count could be noise, so nothing is said
    lost = read(sum_table(rows_of(patients)), sd=200.0, cell=10)
    assert {value for _, value, _ in figures_of(lost).values()} == {None}


def test_an_sd_that_noise_could_have_made_is_suppressed() -> None:
    patients = population(300, np.random.default_rng(10)).assign(age=70.0)
    age = read(sum_table(rows_of(patients)), sd=10.0, cell=10).numbers[0]
    assert age.mean.status == "measured"
    assert age.sd.status == "suppressed"


def test_a_field_with_a_small_group_is_withheld_and_moves_no_pooled_figure() -> None:
    generator = np.random.default_rng(11)
    small, large = population(200, generator), population(300, generator)
    small["smoking"], small["weight"] = 0.0, 90.0
    small.loc[:3, "smoking"] = 1.0
    small.loc[:2, "weight"] = np.nan
    shown = withhold_small_groups(sum_table(rows_of(small, PLAIN)), PLAIN, minimum_cell=10)
    own = read(shown, PLAIN, cell=10)
    assert own.categories[1].shares["never"].status == "suppressed"
    assert own.numbers[1].mean.status == own.numbers[1].missing.status == "suppressed"
    assert own.numbers[0].mean.value == pytest.approx(clipped(small)["age"].mean())
    whole = sum_table(rows_of(large, PLAIN))
    assert (withhold_small_groups(whole, PLAIN, minimum_cell=10) == whole).all()
    pooled, _ = pool_tables([(shown, 0.0), (whole, 0.0)])
    both, alone = read(pooled, PLAIN, cell=10), read(whole, PLAIN, cell=10)
    assert both.numbers[1].mean.value == pytest.approx(alone.numbers[1].mean.value)
    assert both.numbers[1].sd.value == pytest.approx(alone.numbers[1].sd.value)
    assert both.categories[1] == alone.categories[1]


@given(st.integers(0, 1000), st.integers(2, 30))
@settings(max_examples=60, deadline=None)
def test_no_count_between_one_and_the_minimum_is_in_an_exact_table(seed: int, cell: int) -> None:
    patients = population(60, np.random.default_rng(seed)).assign(bmd=0.5)
    patients.loc[30:, "bmd"] = 0.7
    shown = withhold_small_groups(sum_table(rows_of(patients, PLAIN)), PLAIN, minimum_cell=cell)
    first = PLAIN.first_cells
    missing = shown[first[2] + 2] / math.hypot(1, 0.7)
    counts = [*shown[first[1] : first[2]], missing, shown[0] - missing]
    counts += list(shown[first[3] : first[4]])
    rounded = np.rint(counts)
    assert not ((rounded > 0) & (rounded < cell)).any()


def test_the_few_who_have_a_value_are_not_shown_by_how_many_lack_it() -> None:
    patients = population(60, np.random.default_rng(15)).assign(bmd=0.5, weight=np.nan)
    patients.loc[30:, "bmd"] = 0.7
    patients.loc[:2, "weight"] = 90.0
    shown = withhold_small_groups(sum_table(rows_of(patients, PLAIN)), PLAIN, minimum_cell=10)
    first = PLAIN.first_cells[2]
    assert shown[first : first + 3] == pytest.approx([0.0, 0.0, 60 * math.hypot(1, 0.7)])


def test_a_class_below_the_minimum_is_refused() -> None:
    patients = population(60, np.random.default_rng(12)).assign(bmd=0.7)
    patients.loc[:4, "bmd"] = 0.5
    table = sum_table(rows_of(patients, PLAIN))
    with pytest.raises(OsteoFedError) as caught:
        withhold_small_groups(table, PLAIN, minimum_cell=10)
    assert caught.value.code == "policy.cell-too-small"


def test_a_projected_covariance_is_the_nearest_without_negative_eigenvalues() -> None:
    matrix = np.diag([2.0, 0.5, -0.3])
    assert np.allclose(nearest_positive(matrix), np.diag([2.0, 0.5, 0.0]))
    generator = np.random.default_rng(13)
    table = sum_table(rows_of(population(100, generator)))
    noisy = table + generator.normal(0, 10.0, table.size)
    covariance = np.array(read(noisy, sd=10.0).second_moments.covariance)
    assert (covariance == covariance.T).all()
    assert np.linalg.eigvalsh(covariance).min() > -1e-9


def test_pooling_more_patients_finds_the_first_component_that_noise_hid() -> None:
    generator = np.random.default_rng(14)
    sd = 3.73 * sensitivity(SPEC)  # ε = 1 at δ = 1e-5

    def share(n: int) -> float:
        exact = np.array(read(sum_table(rows_of(population(n, generator)))).second_moments.covariance)
        noise = generator.normal(0, sd, SPEC.n_cells)
        table = sum_table(rows_of(population(n, generator))) + noise
        found = np.array(read(table, sd=sd).second_moments.covariance)
        top = np.linalg.eigh(found)[1][:, -1]
        return float(top @ exact @ top) / float(np.linalg.eigvalsh(exact)[-1])

    # of the variance that the best direction has
    assert np.mean([share(100) for _ in range(30)]) < 0.75
    assert np.mean([share(3000) for _ in range(30)]) > 0.97


def test_a_table_that_does_not_fit_is_refused() -> None:
    table = sum_table(rows_of(population(20, np.random.default_rng(15))))
    for spoilt in (table[:-1], np.where(table == table[0], np.nan, table)):
        with pytest.raises(OsteoFedError) as caught:
            read(spoilt)
        assert caught.value.code == "protocol.table-shape"
    with pytest.raises(OsteoFedError):
        contributions(
            SPEC,
            fields=np.zeros((3, 3)),
            field_mask=np.zeros((3, 3), dtype=bool),
            target=np.zeros(3),
            is_positive=np.zeros(3, dtype=bool),
        )


def test_bounds_come_from_the_schema_and_its_public_reference() -> None:
    chosen = ["encoder=none", "fusion=clinical_only"]
    settings = compose_settings([*chosen, "validation.description_epsilon=1"])
    stages = resolve_stages(settings, n_parameters=10, declared={"training": (100,)})
    [stage] = [each for each in stages if isinstance(each, DescriptionStage)]
    spec = description_spec(settings, stage)
    age, sex = spec.fields[0], spec.fields[1]
    assert (age.low, age.high) == (41, 90)  # 68 − 3·9, and the cap on ages
    assert isinstance(sex, CategoryCells)
    assert sex.n_cells == 2
    assert (spec.target.low, spec.target.high) == (0.35, 1.0)
    assert not spec.has_second_moments
    plain = resolve_stages(compose_settings(chosen), n_parameters=10, declared={"training": (100,)})
    assert not any(isinstance(each, DescriptionStage) for each in plain)


def test_shipped_groups_release_no_description_and_pairs_never_exactly() -> None:
    for path in (CONFIGS / "validation").glob("*.yaml"):
        group = yaml.safe_load(path.read_text())
        assert group["description_epsilon"] is None
        assert group["description_second_moments"] is False
    with pytest.raises(ValueError, match="description_second_moments must be false"):
        ValidationSettings(release_class="governed", description_second_moments=True)
