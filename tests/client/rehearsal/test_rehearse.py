"""A rehearsal tells price, time, memory and learning; it charges, keeps and sends nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
from dataclasses import fields, replace
from mmap import mmap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from practice_plan import trained
from table_site import TableSites
from typer.testing import CliRunner

import client.rehearsal.learning as learning
import client.rehearsal.rehearse as rehearsing
import client.rehearsal.round as measuring
from client.cohort.assemble import ExamArrays, assemble
from client.cohort.tokens import load_tokens
from client.command.app import app
from client.command.trial import _describe_encoding, _show_rehearsal
from client.rehearsal.learning import Trial, mean_loss, plant_relation, try_learning
from client.rehearsal.price import Price, price_plan
from client.rehearsal.rehearse import Rehearsal, rehearse
from client.rehearsal.round import RoundMeasure
from shared.audit.attack.rehearsal import draw_patients
from shared.contract.model_settings import EncoderSettings
from shared.contract.plan import Plan
from shared.contract.protocol import Vector
from shared.errors import IntakeError
from shared.measures.exams import exams_of
from shared.measures.scored import Scored
from shared.privacy.accountant import gaussian_epsilon
from shared.privacy.cost import predict_cost
from shared.stages.gradient import GradientSum
from shared.train.public_batch import draw_public_batch


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_encoder(plan: Plan, encoder: EncoderSettings) -> Plan:
    settings = plan.settings.model_copy(update={"encoder": encoder})
    return plan.model_copy(update={"settings": settings, "encoder_sha256": encoder.sha256})


def test_a_rehearsal_leaves_every_byte_of_the_site_as_it_was_and_needs_no_network(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites.answer(sites.train_request())
    site = sites.site()
    before = files_of(site.folder)
    assert any(path.name == "outbox.jsonl" for path in before)

    def no_network(*_arguments: object) -> None:
        raise OSError("a rehearsal must not need a network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    rehearse(site, sites.plan)
    assert files_of(site.folder) == before


def test_a_site_without_a_ledger_gets_none_from_a_rehearsal(sites: TableSites) -> None:
    site = sites.site()
    shutil.rmtree(site.folder / "ledger", ignore_errors=True)  # of a gate that was only looked at
    price = price_plan(site, sites.plan, sites.split("train").cohort)[0]
    assert price.run_epsilon == pytest.approx(price.spent_after)
    assert not (site.folder / "ledger").exists()


def test_prices_add_what_was_spent_to_what_the_run_will_cost(sites: TableSites) -> None:
    site, plan = sites.site(), sites.plan
    noise = trained(plan).noise_multiplier
    sites.answer(sites.train_request())  # one step of three is spent
    training, validation = price_plan(site, plan, sites.split("train").cohort)
    delta = site.policy.delta
    assert training.run_epsilon == pytest.approx(gaussian_epsilon(3**0.5 / noise, delta), abs=1e-6)
    assert training.spent_before == pytest.approx(gaussian_epsilon(1 / noise, delta), abs=1e-6)
    # the step that was made is one of the three
    assert training.spent_after == pytest.approx(gaussian_epsilon(3**0.5 / noise, delta), abs=1e-6)
    assert training.left_after == pytest.approx(site.policy.epsilon_lifetime - training.spent_after)
    assert validation.spent_before == 0
    assert validation.spent_after == pytest.approx(plan.predicted.validation_epsilon or 0, abs=1e-6)


def test_a_round_is_rehearsed_with_who_would_train_and_nobody_held_out(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ExamArrays] = []
    monkeypatch.setattr(rehearsing, "measure_round", lambda *given: asked.append(given[-1]))
    monkeypatch.setattr(rehearsing, "try_learning", lambda *_, **__: None)
    rehearse(sites.site(), sites.plan)
    assert asked[0].patients == sites.split("train").arrays.patients


def test_an_external_site_pays_for_everybodys_validation_only(sites: TableSites) -> None:
    found = rehearse(sites.site("hop"), sites.plan)
    assert [price.purpose for price in found.prices] == ["external validation"]
    assert found.prices[0].n_patients == len(sites.split(None, "hop").cohort.patients())
    assert found.measured is None
    assert found.trial is None


def test_what_would_stop_the_run_is_said(sites: TableSites) -> None:
    assert rehearse(sites.site("hop"), sites.plan).problems == ()
    sites.change_policy("hop", epsilon_lifetime=1.0, minimum_cell=500)
    problems = "\n".join(rehearse(sites.site("hop"), sites.plan).problems)
    assert "above the cap of 1" in problems
    assert "fewer than the minimum of 500" in problems
    sites.change_policy("hop", allowed=[])
    assert "evaluate.external is not allowed" in "\n".join(
        rehearse(sites.site("hop"), sites.plan).problems
    )


def test_who_is_asked_for_later_patients_only_rehearses_without_a_cohort(sites: TableSites) -> None:
    later = tuple(stage for stage in sites.plan.stages if stage.patients == "accrued")
    predicted = predict_cost(later, delta=sites.plan.settings.delta)
    plan = sites.plan.model_copy(update={"stages": later, "predicted": predicted})
    shutil.rmtree(sites.site("hop").cohorts)
    found = rehearse(sites.site("hop"), plan)
    assert (found.prices, found.problems, found.measured) == ((), (), None)
    sites.change_policy("hop", allowed=[])
    assert "evaluate.prospective is not allowed" in "\n".join(
        rehearse(sites.site("hop"), plan).problems
    )
    with pytest.raises(IntakeError, match="has no cohort"):
        rehearse(sites.site("hop"), sites.plan)


def test_the_measured_round_has_the_cohorts_shape_and_none_of_its_values(sites: TableSites) -> None:
    plan, real = sites.plan, sites.split("train")
    arrays = assemble(real.cohort, "train", schema=plan.settings.cohort, task=plan.settings.task)
    drawn = measuring.draw_in_shape_of(plan.settings, real.cohort, arrays)
    for name, tensor in real.batch.named_tensors().items():
        assert getattr(drawn, name).shape == tensor.shape, name
    for name in ("film_exam", "field_mask", "exam_mask"):
        assert torch.equal(getattr(drawn, name), getattr(real.batch, name))
    for name in ("fields", "target"):
        # Of real exams: what only makes room is 0 in both.
        own, other = (
            getattr(batch, name)[real.batch.exam_mask].flatten() for batch in (drawn, real.batch)
        )
        by_chance = 5 / np.sqrt(len(own))  # five standard deviations of independent values
        assert abs(np.corrcoef(own.numpy(), other.numpy())[0, 1]) < by_chance, name


def test_a_round_is_really_trained_and_its_memory_really_measured(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def answer(
        _: GradientSum, vector: Vector, batch: object, *, declared_patients: int, **__: object
    ) -> Vector:
        seen.append((len(batch), declared_patients))  # type: ignore[arg-type]
        # From the system: the heap may hold enough that earlier tests gave back to it.
        held = np.frombuffer(mmap(-1, (40 << 20) + below_the_peak), dtype=np.uint8)
        held.fill(1)
        return vector * held[0]

    site, split = sites.site(), sites.split("train")
    arrays = assemble(
        split.cohort, "train", schema=sites.plan.settings.cohort, task=sites.plan.settings.task
    )
    with measuring.peak_memory() as empty:
        pass
    # Where the system cannot reset the peak, the round must pass the one of the tests before it.
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    below_the_peak = max(0, empty.memory_bytes - resident)
    monkeypatch.setattr(GradientSum, "answer", answer)
    measured = measuring.measure_round(site, sites.plan, trained(sites.plan), split.cohort, arrays)
    assert seen == [(len(split.batch), sites.plan.entry("elm").declared_patients)]
    assert measured.memory_bytes - empty.memory_bytes > 30 << 20
    assert (measured.encoding, measured.encoding_s) == ("not needed", None)


def test_what_is_known_of_the_encoding_is_said_and_nothing_more(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, cohort = sites.site(), sites.split("train").cohort
    films = replace(cohort, images=np.zeros((3, 8, 8), dtype=np.float16))
    sha256 = "e" * 64
    frozen = EncoderSettings(name="resnet34", sha256=sha256, token_grid=7)
    plan = with_encoder(sites.plan, frozen)
    assert measuring.look_for_tokens(site, plan, films) == "unknown"
    weights = site.encoder_file(sha256)
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"weights")
    assert measuring.look_for_tokens(site, plan, films) == "needed"
    assert measuring.look_for_tokens(site, plan, cohort) == "not needed"  # no films
    whole = with_encoder(plan, frozen.model_copy(update={"training": "full"}))
    assert measuring.look_for_tokens(site, whole, films) == "not needed"
    monkeypatch.setattr(
        "client.cohort.tokens.encode_films", lambda *_: np.zeros((3, 49, 4), np.float32)
    )
    load_tokens(site, plan, films)
    assert measuring.look_for_tokens(site, plan, films) == "done"
    again = with_encoder(plan, frozen.model_copy(update={"token_grid": 4}))
    assert measuring.look_for_tokens(site, again, films) == "needed"


@pytest.mark.parametrize(
    ("encoding", "seconds", "words"),
    [
        ("not needed", None, "not needed"),
        ("done", None, "done"),
        ("needed", 41.7, "42 s, before the first round"),
        ("unknown", None, "unknown: the encoder is not here"),
    ],
)
def test_each_state_of_the_encoding_has_its_words(
    encoding: measuring.Encoding, seconds: float | None, words: str
) -> None:
    measured = measuring.RoundMeasure(
        seconds=1.0, memory_bytes=1, gpu_bytes=0, encoding=encoding, encoding_s=seconds
    )
    assert words in _describe_encoding(measured)


def test_the_loss_of_invented_people_falls_under_a_sound_plan_and_not_under_a_drowned_one(
    sites: TableSites,
) -> None:
    long = {
        "fold": "site",
        "rounds": 8,
        "local_steps": 5,
        "learning_rate": 1.0,
        "update_norm_max": 100.0,
    }
    sound = trained(sites.plan, **long, noise_multipliers=(0.5,))
    drowned = trained(sites.plan, **long, noise_multipliers=(500.0,))
    well = try_learning(sites.plan, sound, site="elm", file=None)
    assert well.falls
    assert well.loss_after < 0.8 * well.loss_before
    assert (well.rounds, well.planned_rounds) == (8, 8)
    assert not try_learning(sites.plan, drowned, site="elm", file=None).falls


def test_a_long_trial_stops_early_and_says_so(
    sites: TableSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([0.0, 0.0, 50.0, 200.0, 300.0])
    monkeypatch.setattr(learning.time, "monotonic", lambda: next(moments))
    trial = try_learning(sites.plan, trained(sites.plan, rounds=9), site="elm", file=None)
    assert (trial.rounds, trial.planned_rounds) == (2, 9)


def test_the_planted_relation_is_one_of_fields_and_noise(sites: TableSites) -> None:
    settings = sites.plan.settings
    people = plant_relation(draw_patients(settings, 600, seed=1), settings, seed=2)
    assert set(people.target.unique().tolist()) == {0.0, 1.0}
    numbers = (people.fields * people.field_mask)[..., :3].sum(dim=-1)
    assert np.corrcoef(numbers.flatten(), people.target.flatten())[0, 1] > 0.6
    assert people.target.mean() == pytest.approx(0.5, abs=0.08)


def test_the_mean_loss_is_the_mean_of_each_patients(sites: TableSites) -> None:
    settings, weights = sites.plan.settings, sites.weights
    people = draw_public_batch(settings)
    whole = mean_loss(settings, people, weights, file=None)
    parts = [
        mean_loss(settings, people.select([row]), weights, file=None) for row in range(len(people))
    ]
    assert whole == pytest.approx(np.mean(parts))


def test_the_spread_and_the_error_of_a_learner_are_in_one_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    label, output = np.array([0.5, 0.7, 1.2]), np.array([0.6, 0.7, 0.8])
    task = SimpleNamespace(kind="regression", target_sd=0.2)
    # the second patient comes again: of a patient's exams the earliest counts
    exams = Scored(np.insert(output, 2, 9.0)[:, None], np.insert(label, 2, 9.0), np.zeros((4, 0)))
    scorer = SimpleNamespace(score=lambda *_: exams_of(exams, np.array([0, 1, 1, 2])))
    decision = SimpleNamespace(score=lambda outputs: outputs[:, 0])
    monkeypatch.setattr(learning, "scorer_of", lambda *_: scorer)
    monkeypatch.setattr(learning, "decision_of", lambda _: decision)
    plan = SimpleNamespace(settings=SimpleNamespace(task=task))
    before, after = learning._variance_and_error(plan, None, None, np.zeros(1))
    assert before == pytest.approx(label.var() / 0.04)
    assert after == pytest.approx(((output - label) ** 2).mean() / 0.04)


ENCODER = EncoderSettings(name="resnet34", sha256="a" * 64)


@pytest.mark.parametrize(("places", "n_films"), [(0, 30), (40, 40)])
def test_the_time_to_encode_is_that_of_every_film_or_place_by_every_encoder_that_is_due(
    monkeypatch: pytest.MonkeyPatch, places: int, n_films: int
) -> None:
    # before and after 8 films: half a second each, then a quarter
    moments = iter([100.0, 104.0, 200.0, 202.0])
    asked: list[int] = []
    monkeypatch.setattr("shared.model.encoders.load_encoder", lambda *_: torch.nn.Identity())
    monkeypatch.setattr("shared.model.encoders.encode", lambda _, films: asked.append(len(films)))
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: next(moments))
    monkeypatch.setattr(measuring, "film_places", lambda *_: places)
    lacking, done = (Path("absent"), ENCODER), (Path(__file__), ENCODER)
    monkeypatch.setattr(measuring, "encoded_blocks", lambda *_: [lacking, done, lacking])
    settings = SimpleNamespace(device="cpu", cohort=SimpleNamespace(image_pixels=8))
    seconds = measuring._encoding_time(
        SimpleNamespace(encoder_file=lambda _: Path("any")),
        SimpleNamespace(settings=settings),
        SimpleNamespace(images=range(30), exams=range(12)),
    )
    assert asked == [1, 8, 1, 8]
    assert seconds == n_films * (0.5 + 0.25)


def test_the_command_shows_it_to_people_and_to_programs(sites: TableSites) -> None:
    plan = next((sites.site().folder / "plans").glob("*.json"))
    before = files_of(sites.site().folder)
    arguments = ["rehearse", str(plan), "--folder", str(sites.site().folder)]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    for words in ("one round", "left for life", "nothing was charged"):
        assert words in shown.output
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert told["problems"] == []
    assert set(told["prices"][0]) == {field.name for field in fields(Price)}
    assert files_of(sites.site().folder) == before


def test_the_time_of_a_run_is_that_of_all_its_rounds_not_of_those_that_were_tried(
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured = RoundMeasure(
        seconds=2.0, memory_bytes=2**30, gpu_bytes=0, encoding="done", encoding_s=None
    )
    trial = Trial(loss_before=1.0, loss_after=0.5, rounds=3, planned_rounds=40)
    rehearsal = Rehearsal(prices=(), problems=(), measured=measured, trial=trial)
    _show_rehearsal(rehearsal, run="any", delta=1e-5)
    shown = " ".join(capsys.readouterr().out.split())
    assert "one round 2.0 s" in shown
    assert "all rounds 80 s" in shown
    assert "after 3 of 40 rounds" in shown


def test_a_plan_that_would_not_run_here_ends_with_exit_code_1(sites: TableSites) -> None:
    sites.change_policy("hop", epsilon_lifetime=1.0)
    site = sites.site("hop")
    plan = next((site.folder / "plans").glob("*.json"))
    arguments = ["rehearse", str(plan), "--folder", str(site.folder)]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 1
    assert "why it would not run" in shown.stdout
    told = CliRunner().invoke(app, [*arguments, "--json"])
    assert told.exit_code == 1
    assert "above the cap of 1" in "".join(json.loads(told.stdout)["problems"])
