"""The published figures' own arithmetic: arms, medians, intervals and the operating point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from practice_patients import practice_patients

import server.experiments.figures as figures
from server.experiments.figures import (
    HEADS,
    TRAINING_PATIENTS,
    Figure,
    Figures,
    draw_patients,
    measure_figures,
    measure_operating_points,
)
from server.federation.compose import compose_settings
from server.federation.folder import Enrolled
from server.federation.plan import draft_plan
from server.synthetic.exams import draw_exams
from server.synthetic.hospitals import DEMO_SITES
from shared.contract.decision import decision_of
from shared.contract.plan import Plan
from shared.measure.exact.regression import measure_regression
from shared.stages.in_memory import train_in_memory
from shared.train.patients import NO_EXAM, PatientBatch

SITES = {"aster": 5, "birch": 9}


def plan_of(*overrides: str, sizes: dict[str, int] = SITES) -> Plan:
    """A plan without noise over two small hospitals."""
    return draft_plan(
        compose_settings(["privacy=off", "privacy.update_norm_max=1e9", *overrides]),
        [
            Enrolled(
                site=site,
                public_key="0" * 64,
                declared_patients=n,
                role="training",
                enrolled_utc="",
            )
            for site, n in sizes.items()
        ],
        run="figures",
        coordinator_key="0" * 64,
        now=figures.datetime(2024, 1, 1, tzinfo=figures.UTC),
    )


@pytest.fixture(scope="module")
def patients() -> dict[str, PatientBatch]:
    sites = dict(zip(SITES, DEMO_SITES, strict=False))
    return {name: draw_patients(sites[name], n, np.random.default_rng(n)) for name, n in SITES.items()}


def test_synthetic_patients_come_as_a_model_takes_them(patients: dict[str, PatientBatch]) -> None:
    batch = patients["birch"]
    assert len(batch) == 9
    assert batch.exam_mask.sum() == 9, "one exam each"
    assert (batch.film_exam != NO_EXAM).any(dim=1).all(), "with at least one film"
    assert torch.isfinite(batch.target).all()


def test_no_film_of_a_synthetic_exam_lacks_room() -> None:
    for site in DEMO_SITES:
        exams = draw_exams(site, 12, np.random.default_rng(3))
        assert max(len(exam.films) for exam in exams) <= figures._MOST_FILMS


def test_room_for_more_films_and_exams_changes_no_release(patients: dict[str, PatientBatch]) -> None:
    plan = plan_of("fusion=cross_attention", "federation.rounds=1", "federation.local_steps=2")
    assert plan.trained is not None

    def wider(values: torch.Tensor, fill: float = 0) -> torch.Tensor:
        return torch.cat([values, torch.full_like(values, fill)], dim=1)

    roomy = {
        name: replace(
            batch,
            tokens=wider(batch.tokens),
            film_exam=wider(batch.film_exam, NO_EXAM),
            film_maker=wider(batch.film_maker),
            **{
                part: wider(getattr(batch, part))
                for part in ("fields", "field_mask", "target", "exam_mask")
            },
        )
        for name, batch in patients.items()
    }
    assert roomy["birch"].tokens.shape[1] == 4
    assert roomy["birch"].target.shape[1] == 2
    found, wide = (train_in_memory(plan, plan.trained, each) for each in (patients, roomy))
    assert np.abs(found).max() > 0.1
    np.testing.assert_allclose(found, wide, atol=1e-5)


def figure(r2: float, mae: float = 0.1) -> Figure:
    return Figure(r2=(r2, r2 - 0.1, r2 + 0.1), mae=mae, auc=(0.8, 0.7, 0.9))


def test_the_printed_figure_is_that_of_the_median_seed_whole() -> None:
    three = [figure(0.5, mae=1.0), figure(0.3, mae=2.0), figure(0.4, mae=3.0)]
    assert figures._median(three) == three[2]
    # of an even number the lower of the middle two: a seed that was run
    assert figures._median([figure(0.5), figure(0.3)]) == figure(0.3)


def with_reading(
    monkeypatch: pytest.MonkeyPatch, output: np.ndarray, target: np.ndarray
) -> list[figures.Trained]:
    """Every model reads ``output``; returns those that were asked."""
    asked: list[figures.Trained] = []

    def read(trained: figures.Trained, _: PatientBatch) -> tuple[np.ndarray, np.ndarray]:
        asked.append(trained)
        return output, target

    monkeypatch.setattr(figures, "_read", read)
    return asked


def test_a_figure_is_r2_mae_and_the_auc_of_low_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("fusion=linear")
    threshold = plan.settings.task.endpoint_threshold
    target = threshold + np.array([-0.2, -0.1, 0.0, 0.1, 0.2, 0.3])
    output = threshold + np.array([-0.1, -0.2, 0.15, 0.1, 0.2, 0.3])
    with_reading(monkeypatch, output, target)
    found = figures._figure(figures.Trained(np.zeros(1), plan), practice_patients(1))
    exact = measure_regression(target, output)
    assert found.r2[0] == exact.r2
    assert found.mae == pytest.approx((0.1 + 0.1 + 0.15) / 6)
    # three at or below the threshold, three above: of nine pairs one is in the wrong order
    assert found.auc[0] == pytest.approx(8 / 9)
    assert found.r2[1] <= found.r2[0] <= found.r2[2]
    assert found.auc[1] < found.auc[0] < found.auc[2]


def test_each_operating_point_catches_its_share_of_those_at_or_below_its_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_of("fusion=linear")
    threshold, milder = decision_of(plan.settings).label_cuts
    # 101 osteoporotic patients, one of them on the threshold, with outputs 0, 1, … 100
    output = np.concatenate([np.arange(101.0), np.full(50, -5.0)])
    target = np.concatenate([np.full(100, threshold - 0.1), [threshold], np.full(50, threshold + 0.1)])
    drawn: list[tuple[str, int]] = []
    runs: list[tuple[str, float | None, list[str]]] = []

    def draw(site: object, n: int, _: object) -> PatientBatch:
        drawn.append((site.name, n))
        return practice_patients(2)

    def run(head: str, epsilon: float | None, patients: dict[str, PatientBatch]) -> figures.Trained:
        runs.append((head, epsilon, list(patients)))
        return figures.Trained(np.zeros(1), plan)

    monkeypatch.setattr(figures, "draw_patients", draw)
    monkeypatch.setattr(figures, "_run", run)
    with_reading(monkeypatch, output, target)
    for sensitivity in (0.85, 0.5):
        point, above = measure_operating_points(sensitivity)
        assert point == pytest.approx(100 * sensitivity)
        # the other 50 lie at or below the second cut as well, with lower outputs
        assert above == pytest.approx(np.quantile(output[target <= milder], sensitivity))
        called = output[target <= threshold] <= point
        assert called.mean() >= sensitivity
    assert runs[0] == (HEADS[0], 3.0, ["public-aster", "public-birch", "public-cedar"])
    assert [n for _, n in drawn[:3]] == list(TRAINING_PATIENTS.values())
    assert [n for _, n in drawn[3:7]] == [1000] * 4
    assert all(name.startswith("public-") for name, _ in drawn), "no site of the demo is read"


def test_the_smallest_site_alone_is_what_a_federation_is_compared_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_of("fusion=linear")
    rng = np.random.default_rng(0)
    target = rng.normal(size=300)
    good, bad = target + 0.3 * rng.normal(size=300), target + 0.6 * rng.normal(size=300)
    outputs = {"federated": good, "aster alone": bad}
    monkeypatch.setattr(figures, "_read", lambda trained, _: (outputs[trained.weights], target))
    collected = {
        ("linear", arm, 1.0): [figures.Trained(arm, plan)] for arm in ("federated", "aster alone")
    }
    value, low, high = figures._compare(collected, "linear", practice_patients(1))
    ours, theirs = (measure_regression(target, each).r2 for each in (good, bad))
    assert value == pytest.approx(ours - theirs)
    assert 0 < low < value < high


@pytest.fixture
def written() -> list[Figures]:
    """The figures that were handed to the page."""
    return []


@pytest.fixture
def quick(
    monkeypatch: pytest.MonkeyPatch, written: list[Figures]
) -> list[tuple[str, float | None, dict[str, int]]]:
    """Every arm as an untrained model; the federation, ceiling and demo are measured elsewhere."""
    runs: list[tuple[str, float | None, dict[str, int]]] = []

    def run(head: str, epsilon: float | None, patients: dict[str, PatientBatch]) -> figures.Trained:
        runs.append((head, epsilon, {site: len(batch) for site, batch in patients.items()}))
        plan = figures._plan(head, epsilon, list(patients), sizes=runs[-1][2])
        return figures.untrained(plan)

    monkeypatch.setattr(figures, "_run", run)
    monkeypatch.setattr(figures, "TRAINING_PATIENTS", {"aster": 2, "birch": 3, "cedar": 4})
    monkeypatch.setattr(figures, "HEADS", ("linear",))
    monkeypatch.setattr(figures, "REPLICATES", 20)
    monkeypatch.setattr(figures, "measure_operating_points", lambda sensitivity: (sensitivity,))
    monkeypatch.setattr(figures, "_ceiling", lambda site: {"r2": 0.9})
    monkeypatch.setattr(figures, "play_demo", lambda folder, **options: (None, None))
    monkeypatch.setattr(figures, "write_demo", lambda results, seconds: {})
    monkeypatch.setattr(figures, "write_figures", lambda found: written.append(found) or {})
    return runs


def test_every_arm_is_run_for_every_seed_and_epsilon_on_the_same_patients(
    quick: list[tuple[str, float | None, dict[str, int]]], written: list[Figures], tmp_path: Path
) -> None:
    progress: list[tuple[int, int]] = []
    # fresh patients enough for both classes to be there
    measure_figures(
        tmp_path, n_seeds=1, n_evaluated=36, progress=lambda done, n: progress.append((done, n))
    )
    assert progress == [(1, 1)]
    everybody = {"aster": 2, "birch": 3, "cedar": 4}
    for epsilon in (None, 8.0, 3.0, 1.0):
        of_epsilon = [sizes for head, e, sizes in quick if (head, e) == ("linear", epsilon)]
        assert {"pooled": 9} in of_epsilon
        assert everybody in of_epsilon
        for site, n in everybody.items():
            assert {site: n} in of_epsilon
    assert [head for head, *_ in quick if head != "linear"] == ["image_only", "clinical_only"]
    [found] = written
    assert (found.n_internal, found.n_external, found.operating_points) == (36, 36, (0.85,))
    assert {row.arm for row in found.rows} == {
        *("pooled", "federated", "no hospital training", "pooled, image_only"),
        *("pooled, clinical_only", "aster alone", "birch alone", "cedar alone"),
    }
    untrained = next(row for row in found.rows if row.arm == "no hospital training")
    # an untrained head predicts the public mean for everybody: no better than 0, by any seed
    assert untrained.internal.r2[0] <= 0.0
    assert untrained.internal.auc[0] == pytest.approx(0.5)


def test_a_plan_of_an_arm_has_its_head_its_epsilon_and_the_sizes_that_train() -> None:
    plan = figures._plan("concatenation", 1.0, ["aster", "cedar"], sizes={"aster": 7, "cedar": 8})
    assert plan.settings.fusion.name == "concatenation"
    assert plan.predicted.training_epsilon == pytest.approx(1.0, abs=0.02)
    assert [entry.declared_patients for entry in plan.roster] == [7, 8]
    assert figures._plan("linear", None, ["aster"]).stage("train").release_class == "off"


def test_fresh_patients_of_an_evaluation_are_shared_out_over_the_training_sites(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[str, int]] = []

    def draw(site: object, n: int, _: object) -> PatientBatch:
        drawn.append((site.name, n))
        return practice_patients(n)

    monkeypatch.setattr(figures, "draw_patients", draw)
    found = figures._evaluation_sets(DEMO_SITES[:-1], DEMO_SITES[-1], 10)
    assert [n for _, n in drawn] == [4, 4, 4, 10]
    assert (len(found["internal"]), len(found["external"])) == (12, 10)


def test_a_row_has_the_median_seed_of_each_place_and_every_seed_of_the_internal_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside, outside = practice_patients(1), practice_patients(2)
    r2 = {("one", 1): 0.5, ("two", 1): 0.3, ("three", 1): 0.4, ("one", 2): 0.1, ("two", 2): 0.2,
          ("three", 2): 0.0}  # fmt: skip
    monkeypatch.setattr(figures, "_figure", lambda run, batch: figure(r2[run, len(batch)]))
    evaluation = {"internal": inside, "external": outside}
    row = figures._row(("linear", "pooled", 3.0), ["one", "two", "three"], evaluation)
    assert (row.head, row.arm, row.epsilon) == ("linear", "pooled", 3.0)
    assert (row.internal, row.external) == (figure(0.4), figure(0.1))
    assert row.seeds_r2 == (0.5, 0.3, 0.4)


def test_the_difference_that_is_printed_is_that_of_the_median_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_of("fusion=linear")
    rng = np.random.default_rng(1)
    target = rng.normal(size=200)
    outputs = {f"federated {seed}": target + error * rng.normal(size=200)
               for seed, error in enumerate((0.1, 0.9, 0.5))}  # fmt: skip
    outputs["alone"] = target + rng.normal(size=200)
    monkeypatch.setattr(figures, "_read", lambda trained, _: (outputs[trained.weights], target))
    runs = [figures.Trained(f"federated {seed}", plan) for seed in range(3)]
    alone = [figures.Trained("alone", plan)] * 3
    collected = {("linear", "federated", 1.0): runs, ("linear", "aster alone", 1.0): alone}
    value, *_ = figures._compare(collected, "linear", practice_patients(1))
    ours, theirs = (measure_regression(target, outputs[each]).r2 for each in ("federated 2", "alone"))
    assert value == pytest.approx(ours - theirs)


def test_a_training_population_has_as_many_patients_as_each_site_is_said_to_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[str, int, float]] = []

    def draw(site: object, n: int, rng: np.random.Generator) -> PatientBatch:
        drawn.append((site.name, n, float(rng.random())))
        return practice_patients(n)

    monkeypatch.setattr(figures, "draw_patients", draw)
    found = figures._training_sets(DEMO_SITES[:-1], 101)
    assert {site: len(batch) for site, batch in found.items()} == TRAINING_PATIENTS
    figures._training_sets(DEMO_SITES[:-1], 102)
    assert len({seed for *_, seed in drawn}) == 6, "of every site and seed others"
