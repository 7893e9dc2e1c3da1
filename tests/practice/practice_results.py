"""A finished run: real tables, real measures, invented hospitals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from practice_tables import sum_table
from practice_validation import rows_of_numbers, spec_of_numbers

from server.report.pooling import pool_exact_aucs
from server.report.results import (
    DescriptionResult,
    MissingUpdate,
    PrivacyResult,
    Results,
    RoundResult,
    SiteResult,
    Task,
    TrainingResult,
    ValidationResult,
)
from shared.measure.description.reading import read_description
from shared.measure.description.rows import (
    CategoryCells,
    DescriptionSpec,
    NumberCells,
)
from shared.measure.description.rows import contributions as description_rows
from shared.measure.description.rows import sensitivity as description_sensitivity
from shared.measure.table.reading import read_table
from shared.measure.table.rows import pool_tables
from shared.measure.table.spec import sensitivity
from shared.sums.estimate import Measures

SPEC = spec_of_numbers()
NOISE_MULTIPLIER = 1.4


def table_of(n: int, seed: int) -> np.ndarray:
    """A noisy table of n invented patients whose predictions explain 60 % of BMD."""
    generator = np.random.default_rng(seed)
    prediction = generator.normal(0.64, 0.093, n)
    target = prediction + generator.normal(0, 0.076, n)
    rows = rows_of_numbers(SPEC, prediction, target)
    return sum_table(rows) + generator.normal(0, NOISE_MULTIPLIER * sensitivity(SPEC), SPEC.n_cells)


def measures_of(tables: list[np.ndarray]) -> Measures:
    table, sd = pool_tables([(t, NOISE_MULTIPLIER * sensitivity(SPEC)) for t in tables])
    return read_table(table, SPEC, noise_sd=sd, minimum_cell=10, sensitivity_target=0.85)


def rounds_of(sites: tuple[str, ...]) -> tuple[RoundResult, ...]:
    rounds = []
    for number in range(1, 51):
        absent = {13: "engine.no-reply", 14: "engine.no-reply", 31: "protocol.norm-too-large"}
        lost = "lakeside" if number in absent else ""
        rounds.append(
            RoundResult(
                round=number,
                asked=sites,
                took_part=tuple(s for s in sites if s != lost),
                missing=(MissingUpdate(site=lost, round=number, code=absent[number]),) if lost else (),
                weight_share=0.8 if lost else 1.0,
                duration_s=1.3,
            )
        )
    return tuple(rounds)


@pytest.fixture(scope="session")
def results() -> Results:
    """A run of three training sites and an external one under ε = 3."""
    return sample_results()


def sample_results() -> Results:
    sizes = {"northgate": 420, "st-anna": 260, "lakeside": 90}
    tables = {site: table_of(n, seed) for seed, (site, n) in enumerate(sizes.items(), 1)}
    outside = table_of(300, 9)
    validation: list[ValidationResult] = []

    def add(kind: str, site: str, given: list[np.ndarray]) -> None:
        validation.append(
            ValidationResult(
                kind=kind,
                site=site,
                status="measured",
                release_class="dp",
                epsilon=3.0,
                measures=measures_of(given),
            )
        )

    for site, table in tables.items():
        add("internal", site, [table])
    add("internal", "pooled", list(tables.values()))
    add("external", "harbour", [outside])
    add("prospective", "northgate", [table_of(60, 20)])
    validation.append(
        ValidationResult(kind="prospective", site="st-anna", status="waiting", release_class="dp")
    )
    validation.append(
        ValidationResult(
            kind="prospective",
            site="lakeside",
            status="missing",
            code="policy.release-not-allowed",
            release_class="dp",
        )
    )
    rounds = rounds_of(tuple(sizes))
    return Results(
        run="hip-bmd-eps3",
        experiment="xattn_bmd",
        task=Task(
            kind="regression",
            target="femoral-neck BMD",
            target_unit="g/cm2",
            endpoint="osteoporosis",
            endpoint_rule="BMD ≤ 0.558 g/cm2, T ≤ −2.5",
            side="≤",
            operating_point=0.558,
            sensitivity_target=0.85,
        ),
        started_utc="2027-03-01T09:00:00Z",
        finished_utc="2027-03-01T09:02:41Z",
        duration_s=161.0,
        plan_sha256="3f" * 32,
        code_sha256="a1" * 32,
        release_sha256="7c" * 32,
        lock_sha256="e0" * 32,
        training=TrainingResult(total="changes", combined="shares", lengths=(21_345,) * 50),
        sites=(
            *(
                SiteResult(
                    site=site,
                    role="training",
                    is_required=site != "lakeside",
                    declared_patients=declared,
                    weight=declared / 900,
                    rounds_took_part=47 if site == "lakeside" else 50,
                    bytes_sent=4_310_000,
                    bytes_received=6_120_000,
                )
                for site, declared in (("northgate", 500), ("st-anna", 300), ("lakeside", 100))
            ),
            SiteResult(
                site="harbour",
                role="external",
                is_required=True,
                declared_patients=300,
                weight=0.0,
                rounds_took_part=0,
                bytes_sent=1_480,
                bytes_received=1_840_000,
            ),
        ),
        rounds=rounds,
        privacy=tuple(
            PrivacyResult(
                site=site,
                mode="patient_dp",
                mechanism="Gaussian, 50 full-batch steps, σ = 9.6",
                accountant="exact Gaussian (GDP)",
                delta=1e-5,
                training_epsilon=2.998,
                run_epsilon=4.41,
                lifetime_epsilon=4.63,
                cap_epsilon=8.0,
                left_epsilon=3.37,
            )
            for site in sizes
        ),
        validation=tuple(validation),
        site_auc=pool_exact_aucs(
            np.array([0.87, 0.85, 0.9]), np.array([30.0, 20.0, 12.0]), np.array([120.0, 90.0, 60.0])
        ),
        is_synthetic=True,
    )


@pytest.fixture(scope="session")
def without_privacy() -> Callable[[Results], Results]:
    """The same run with privacy off."""

    def turn_off(results: Results) -> Results:
        off = tuple(
            PrivacyResult(site=p.site, mode="off", mechanism="none", accountant="none", delta=1e-5)
            for p in results.privacy
        )
        return results.model_copy(update={"privacy": off})

    return turn_off


PATIENTS = DescriptionSpec(
    endpoint="osteoporosis",
    fields=(
        NumberCells(
            name="age",
            unit="years",
            low=41,
            high=95,
            reference_mean=68,
            reference_sd=9,
            may_be_missing=False,
        ),
        CategoryCells(name="sex", categories=("female", "male"), may_be_missing=False),
        NumberCells(
            name="weight",
            unit="kg",
            low=27,
            high=117,
            reference_mean=72,
            reference_sd=15,
            may_be_missing=True,
        ),
    ),
    target=None,
    has_second_moments=True,
)


def described_row(site: str, tables: list[tuple[np.ndarray, float]]) -> DescriptionResult:
    table, sd = pool_tables(tables)
    return DescriptionResult(
        site=site,
        status="measured",
        release_class="dp",
        epsilon=1.0,
        description=read_description(table, PATIENTS, noise_sd=sd, minimum_cell=10),
    )


@pytest.fixture(scope="session")
def described_results(results: Results) -> Results:
    """The same run with a description by two sites; a third refused. lakeside has few men."""
    tables = {}
    for seed, (site, n, men) in enumerate((("northgate", 4200, 0.3), ("lakeside", 900, 0.002)), 1):
        generator = np.random.default_rng(seed)
        values = np.stack(
            [generator.normal(0.2, 0.9, n), generator.random(n) < men, generator.normal(size=n)], axis=1
        )
        mask = np.ones((n, 3), dtype=bool)
        mask[:, 2] = generator.random(n) > 0.2
        rows = description_rows(
            PATIENTS,
            fields=values,
            field_mask=mask,
            target=np.zeros(n),
            is_positive=generator.random(n) < 0.25,
        )
        sd = 3.73 * description_sensitivity(PATIENTS) / 10
        tables[site] = (sum_table(rows) + generator.normal(0, sd, PATIENTS.n_cells), sd)
    refused = DescriptionResult(
        site="st-anna", status="missing", code="policy.purpose-forbidden", release_class="dp"
    )
    rows = [described_row(site, [table]) for site, table in tables.items()]
    pooled = described_row("pooled", list(tables.values()))
    return results.model_copy(update={"description": (*rows, refused, pooled)})
