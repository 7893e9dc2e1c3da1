"""Classes by T-score, and who trains together and is scored in each arm."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from server.experiments import learners
from server.experiments.figures import TRAINING_PATIENTS
from server.experiments.learners import classes_of
from server.federation.compose import CONFIGS, compose_settings
from shared.features.columns import Columns, name_columns
from shared.learners.table import read_learner
from shared.measure.exact.discrimination import measure_auc
from shared.privacy.accountant import gaussian_mu
from shared.sums.contract import State
from shared.sums.federate import federate

SETTINGS = compose_settings()


def patients(n: int, seed: int) -> Columns:
    columns = name_columns(SETTINGS.cohort.fields, channels=SETTINGS.encoder.token_channels)
    draw = np.random.default_rng(seed)
    values = np.array([column.spread for column in columns]) * draw.normal(size=(n, len(columns)))
    return Columns(values, values[:, 48] - 0.8 + 0.5 * draw.normal(size=n))


def test_classes_are_cut_at_the_t_scores_of_the_schema() -> None:
    # T = (BMD − 0.858)/0.120 and z = (BMD − 0.75)/0.12, so T = z − 0.9
    z = np.array([0.0, -0.099, -0.101, -1.599, -1.601, -3.0])
    found = classes_of(Columns(np.zeros((6, 1)), z), SETTINGS)
    assert found.target.tolist() == [0, 0, 1, 1, 2, 2]


def test_classes_do_not_depend_on_the_scale_that_the_target_is_learnt_in() -> None:
    # T = (BMD − 0.858)/0.120 and z = (BMD − 0.75)/0.24, so T = 2 z − 0.9
    settings = compose_settings(["task.target_sd=0.24"])
    z = np.array([0.0, -0.049, -0.051, -0.799, -0.801, -1.5])
    found = classes_of(Columns(np.zeros((6, 1)), z), settings)
    assert found.target.tolist() == [0, 0, 1, 1, 2, 2]


def test_every_learner_is_measured_in_every_arm_and_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    population = learners.Population(
        {"small": patients(40, 1), "large": patients(90, 2)}, patients(200, 3), patients(200, 4)
    )
    monkeypatch.setattr(learners, "EPSILONS", (1.0, None))
    told: list[str] = []
    size = learners.Size(populations=2, evaluated=200, draws=1)
    kept = tmp_path / "work" / "kept.jsonl"
    measured = learners.measure_learners(
        size=size, populations=lambda: [population] * 2, kept=kept, progress=told.append
    )
    assert [found.name for found in measured] == [entry.name for entry in learners.ENTRIES]
    assert len(told) == len(measured)
    for found in measured:
        assert set(found.arms) - {"one message"} == {
            "federated",
            "federated, external",
            "pooled",
            "large alone",
            "small alone",
        }
        assert all(len(values) == 2 for values in found.arms.values())
        without_noise = found.arms["federated"][-1]
        assert without_noise == pytest.approx(found.arms["pooled"][-1], abs=1e-6)
        assert without_noise[0] > (0.6 if found.figure == "AUC" else 0.1)
    iterated = {entry.name for entry in learners.ENTRIES if entry.is_iterated}
    assert {found.name for found in measured if "one message" in found.arms} == iterated
    # what was kept is not measured again, and another size is another measurement
    monkeypatch.setattr(learners, "_measure", lambda entry, *_: pytest.fail(entry.name))
    undrawn = partial(pytest.fail, "drawn")
    assert learners.measure_learners(size=size, populations=undrawn, kept=kept) == measured
    with pytest.raises(pytest.fail.Exception, match="drawn"):
        learners.measure_learners(size=learners.QUICK, populations=undrawn, kept=kept)


def test_every_learner_that_can_be_chosen_is_measured_or_has_its_reason() -> None:
    options = {path.stem for path in (CONFIGS / "learner").glob("*.yaml")}
    measured = {entry.kind for entry in learners.ENTRIES}
    assert measured <= options
    assert set(learners.not_measured()) == options - measured
    assert learners.not_measured().items() >= learners.NOT_MEASURED.items(), "a reason too many"


def test_a_learner_of_which_nothing_is_said_is_not_measured_yet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "learner").mkdir()
    for name in ("new", "mlp", "gradient"):
        (tmp_path / "learner" / f"{name}.yaml").touch()
    monkeypatch.setattr(learners, "CONFIGS", tmp_path)
    reasons = learners.not_measured()
    assert set(reasons) == {"new", "gradient"}
    assert reasons["gradient"] == learners.NOT_MEASURED["gradient"]
    assert reasons["new"].startswith("not yet")


def test_clusters_are_heard_at_no_epsilon_of_the_page() -> None:
    shipped = yaml.safe_load((CONFIGS / "learner" / "clusters_mlp.yaml").read_text())
    n_columns = len(name_columns(SETTINGS.cohort.fields, channels=SETTINGS.encoder.token_channels))
    for epsilon in filter(None, learners.EPSILONS):
        by = read_learner(shipped).by.with_noise(
            n_columns,
            epsilon=epsilon,
            mu=gaussian_mu(epsilon, learners.DELTA),
            training=tuple(TRAINING_PATIENTS.values()),
        )
        assert by.is_loud


def test_the_error_of_a_figure_is_that_of_its_mean_over_populations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = [0.6, 0.7, 0.8, 0.9]
    populations = [
        learners.Population(
            {"small": patients(4, 1), "large": patients(9, 2)},
            Columns(np.zeros((1, 1)), [value]),
            Columns(np.zeros((1, 1)), [value]),
        )
        for value in values
    ]
    monkeypatch.setattr(learners, "measure_figure", lambda *given: float(given[-1].target[0]))
    found = learners._measure(learners.ENTRIES[0], SETTINGS, populations, n_draws=3)
    expected = (np.mean(values), np.std(values, ddof=1) / len(values) ** 0.5)
    for arm in found.arms.values():
        for figure in arm:
            assert figure == pytest.approx(expected)


def test_arms_are_all_sites_everybody_and_the_largest_and_smallest_alone() -> None:
    sites = {"middle": patients(50, 1), "small": patients(40, 2), "large": patients(90, 3)}
    population = learners.Population(sites, patients(1, 4), patients(2, 5))
    arms = learners._arms(population, is_iterated=True)
    sizes = {name: [[len(site) for site in group] for group in arm] for name, (arm, _) in arms.items()}
    assert sizes == {
        "federated": [[50, 40, 90]],
        "federated, external": [[50, 40, 90]],
        "one message": [[50], [40], [90]],
        "pooled": [[180]],
        "large alone": [[90]],
        "small alone": [[40]],
    }
    assert {name: len(scored) for name, (_, scored) in arms.items() if len(scored) > 1} == {
        "federated, external": 2
    }
    [[pooled]], _ = arms["pooled"]
    np.testing.assert_array_equal(pooled.target[:50], sites["middle"].target)
    np.testing.assert_array_equal(pooled.columns[-90:], sites["large"].columns)


def test_a_population_is_drawn_anew_for_training_and_once_for_evaluation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[str, int, float]] = []

    def draw(site: object, n: int, rng: np.random.Generator) -> Columns:
        drawn.append((site.name, n, float(rng.random())))
        return Columns(np.full((n, 1), float(len(drawn))), np.zeros(n))

    monkeypatch.setattr(learners, "draw_patients", draw)
    monkeypatch.setattr(learners, "_columns", lambda _, patients: patients)
    first, second = learners.draw_populations(SETTINGS, learners.Size(populations=2, evaluated=10))
    assert [(name, n) for name, n, _ in drawn] == [
        *(("aster", 4), ("birch", 4), ("cedar", 4), ("dune", 10)),
        *(("aster", 112), ("birch", 225), ("cedar", 450)) * 2,
    ]
    assert len({seed for *_, seed in drawn}) == 10, "nobody is drawn twice"
    assert first.fresh is second.fresh
    assert first.fresh.columns[:, 0].tolist() == [1.0] * 4 + [2.0] * 4 + [3.0] * 4
    assert {name: len(site) for name, site in second.sites.items()} == TRAINING_PATIENTS


def test_a_figure_is_the_mean_auc_of_the_classes_or_r2(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[int], float, bool]] = []

    def sum_up(_: object, sites: list[Columns], *, n_declared: float, noise: object) -> State:
        asked.append(([len(site) for site in sites], n_declared, noise is None))
        return State(np.zeros(1))

    class Oracle:
        def predict(self, _: object, fresh: Columns) -> np.ndarray:
            return np.stack([fresh.target == index for index in range(3)], axis=1).astype(float)

    monkeypatch.setattr(learners, "federate", sum_up)
    monkeypatch.setattr(learners, "_learner", lambda *_: Oracle())
    sites, fresh = [patients(30, 1), patients(20, 2)], patients(300, 3)
    assert learners.measure_figure(learners.ENTRIES[0], SETTINGS, None, [sites], fresh) == 1.0
    assert learners.measure_figure(learners.ENTRIES[0], SETTINGS, 3.0, [sites], fresh) == 1.0
    assert asked == [([30, 20], 50, True), ([30, 20], 50, False)]
    ridge = next(entry for entry in learners.ENTRIES if not entry.has_classes)
    monkeypatch.setattr(Oracle, "predict", lambda _, __, fresh: fresh.target[:, None])
    assert learners.measure_figure(ridge, SETTINGS, None, [sites], fresh) == 1.0


def test_draws_of_the_noise_are_repeated_only_where_there_is_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float | None] = []
    monkeypatch.setattr(learners, "measure_figure", lambda *given: asked.append(given[2]) or 0.5)
    population = learners.Population(
        {"a": patients(4, 1), "b": patients(5, 2)}, patients(3, 3), patients(3, 4)
    )
    found = learners._measure(learners.ENTRIES[0], SETTINGS, [population], n_draws=3)
    assert {epsilon: asked.count(epsilon) for epsilon in learners.EPSILONS} == {
        **dict.fromkeys((1.0, 3.0, 8.0), 18),
        None: 6,
    }
    value, error = found.arms["federated"][0]
    assert value == 0.5
    assert np.isnan(error), "one population has no standard error"


def test_one_message_is_the_mean_of_the_sites_own_states_by_their_size() -> None:
    [entry] = [entry for entry in learners.ENTRIES if entry.name == "proportional odds, 1 sum"]
    sites, fresh = [patients(40, 1), patients(90, 2)], patients(200, 3)
    learner = learners._learner(entry, SETTINGS, None)
    own = [
        federate(learner, [classes_of(site, SETTINGS)], n_declared=len(site)).vector for site in sites
    ]
    mean = State((40 * own[0] + 90 * own[1]) / 130, 1)
    output = learner.predict(mean, fresh)
    target = classes_of(fresh, SETTINGS).target
    expected = np.mean([measure_auc(output[:, index], target == index) for index in range(3)])
    found = learners.measure_figure(entry, SETTINGS, None, [[site] for site in sites], fresh)
    assert found == pytest.approx(expected, abs=1e-12)
