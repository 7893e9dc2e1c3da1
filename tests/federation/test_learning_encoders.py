"""Encoders that learn inside a whole federation: films reach the update, and only what learns travels.

Three small synthetic hospitals with real DICOM films, ingested once; a whole ResNet from the seed with
canaries beside its patients, then DINOv2 with low-rank layers from a file, small and of random weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from film_hospitals import Hospitals
from practice_films import pack_random_dinov2, small_dinov2

from client.answers.answer import answer_sum
from client.gate.register import register_file
from client.site.folder import open_site
from server.demo.play import read_new_film
from server.federation.compose import compose_settings
from server.report.collect import collect_results
from server.run.folder import RunStore
from shared.contract.protocol import SumRequest, vector_sha256
from shared.contract.release import read_release
from shared.contract.settings import Settings
from shared.contract.stages import GradientStage
from shared.errors import IntakeError, RunError
from shared.model.build import build_model
from shared.model.weights import flatten_weights, layout, trainable
from shared.privacy.register_format import read_register
from shared.train.update import train_update

pytestmark = pytest.mark.federation

SMALL = ["federation.rounds=2", "federation.local_steps=1", "privacy.sample_rate=0.5", "fusion=linear"]
RUN = ["privacy.epsilon=2", "federation.poll_s=0.01", *SMALL]


@pytest.fixture(scope="module")
def whole(hospitals: Hospitals) -> RunStore:
    """A whole ResNet, trained, released and validated."""
    settings = compose_settings(["encoder=resnet_gn", "privacy.canaries=6", *RUN])
    return hospitals.play(settings, "whole-resnet", "internal")


def measured_sites(store: RunStore) -> set[str]:
    """Whose internal validation came back with a table."""
    rows = collect_results(store).validation
    return {row.site for row in rows if row.kind == "internal" and row.status == "measured"}


def training_of(store: RunStore) -> GradientStage:
    stage = store.plan.training
    assert stage is not None
    return stage


def without_noise(stage: GradientStage) -> GradientStage:
    off = {"release_class": "off", "noise_multipliers": (0.0,), "sample_rate": 1.0, "canaries": 0}
    return stage.model_copy(update=off)


def test_a_whole_resnet_is_trained_released_and_validated(
    hospitals: Hospitals, whole: RunStore
) -> None:
    assert whole.training.last_committed().round == 2
    release = read_release(whole.release_folder, coordinator_key=hospitals.home.key().public_hex)
    model = build_model(whole.plan.settings, whole.plan.settings.seed)
    moved = release.weights - flatten_weights(model)
    start = 0
    for name, shape in layout(model):
        size = int(np.prod(shape))
        assert (moved[start : start + size] != 0).any(), name
        start += size
    assert start == release.weights.size > 300_000
    assert measured_sites(whole) == {"aster", "birch", "pooled"}
    assert whole.plan.predicted.training_epsilon == pytest.approx(2.0, abs=0.06)


def test_no_encoder_travels_where_it_starts_from_the_seed(
    hospitals: Hospitals, whole: RunStore
) -> None:
    assert whole.plan.encoder_sha256 == ""
    assert not whole.encoder_file.exists()
    assert not list((hospitals.folders.site("aster") / "cache").rglob("*.safetensors"))
    assert not list((hospitals.folders.site("aster") / "cache").rglob("*.npy"))


def test_canaries_write_one_clip_norm_each_while_a_whole_resnet_trains(
    hospitals: Hospitals, whole: RunStore
) -> None:
    stage = training_of(whole)
    for name in ("aster", "birch"):
        record = read_register(
            register_file(open_site(hospitals.folders.site(name)), whole.plan.sha256)
        )
        assert record.rounds.tolist() == [1, 2]
        assert record.sums.shape == (2, 6)
        bound = stage.clip_norm * (1 + 6 * stage.noise_multiplier)
        assert (record.sums != 0).all()
        assert np.abs(record.sums).max() < bound


def test_a_hospitals_films_stay_on_disk_until_their_patients_turn(
    hospitals: Hospitals, whole: RunStore
) -> None:
    batch = hospitals.patients(whole).batch
    assert batch.films is not None
    assert (batch.films.dtype, batch.films.shape[1:]) == (torch.float16, (128, 128))
    assert batch.tokens.dtype == torch.int64
    assert batch.tokens.shape == batch.film_exam.shape
    assert ((batch.tokens > 0) == (batch.film_exam >= 0)).all()
    one = batch.select([1]).with_films()
    number = int(batch.tokens[1, 0])
    assert torch.equal(one.tokens[0, 0], batch.films[number - 1].float())


def test_who_made_a_films_scanner_goes_from_its_header_to_the_hospitals_patients(
    hospitals: Hospitals, whole: RunStore
) -> None:
    made = {
        site.name: {scanner.vendor.upper() for scanner in site.scanners} for site in hospitals.sites
    }
    for name in ("aster", "birch"):
        batch = hospitals.patients(whole, name).batch
        assert set(batch.makers) == made[name]
        assert ((batch.film_maker > 0) == (batch.film_exam >= 0)).all()


def test_without_the_films_pixels_the_update_is_another_one(
    hospitals: Hospitals, whole: RunStore
) -> None:
    data = hospitals.patients(whole)
    settings, stage = whole.plan.settings, without_noise(training_of(whole))
    model = build_model(settings, settings.seed)
    weights = flatten_weights(model)
    weights[-129:-1] = 0.1  # a head that has learned to look, so that the encoder has a gradient
    n_encoder = sum(w.numel() for name, w in trainable(model) if name.startswith("encoder."))
    batch = data.batch.select(range(6))
    assert batch.films is not None
    dark = replace(batch, films=torch.zeros_like(batch.films))
    with_films, again, without = (
        train_update(settings, stage, patients, weights, divisor=20)
        for patients in (batch, batch, dark)
    )
    assert np.array_equal(with_films, again)
    assert np.abs(with_films[:n_encoder]).max() > 0
    change = np.linalg.norm(with_films[:n_encoder] - without[:n_encoder])
    assert change > 0.3 * np.linalg.norm(with_films[:n_encoder])


def test_the_release_reads_a_new_film_and_its_heat_map_follows_the_pixels(
    hospitals: Hospitals, whole: RunStore
) -> None:
    settings = whole.plan.settings
    path = read_new_film(hospitals.folders, hospitals.sites[0], whole.release_folder, settings, seed=3)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_exams_without_a_film_are_refused_before_any_charge(
    hospitals: Hospitals, whole: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import client.cohort.patients

    site = open_site(hospitals.folders.site("birch"))
    gate = hospitals.gate("birch")
    charged = len(gate.ledger.show())
    assemble = client.cohort.patients.assemble

    def without_films(*arguments: object, **names: object) -> object:
        arrays = assemble(*arguments, **names)  # type: ignore[arg-type]
        return replace(arrays, exam_films=tuple(() for _ in arrays.exam_films))

    monkeypatch.setattr(client.cohort.patients, "assemble", without_films)
    weights = flatten_weights(build_model(whole.plan.settings, whole.plan.settings.seed))
    request = SumRequest(
        plan_sha256=whole.plan.sha256,
        stage="train",
        round=2,
        vector=weights + np.float32(1e-3),
        release_sha256="",
        lock_sha256="",
        ledger_head="",
        countersignature="",
    )
    with pytest.raises(IntakeError) as caught:
        answer_sum(site, gate, request)
    assert caught.value.code == "intake.no-films"
    assert len(gate.ledger.show()) == charged


@pytest.fixture
def lora_settings(tmp_path: Path) -> Iterator[Settings]:
    """DINOv2 with low-rank layers at a small size, its random weights in a file."""
    with small_dinov2():
        file = pack_random_dinov2(tmp_path)
        yield compose_settings(
            [
                "encoder=dinov2_s_lora",
                "encoder.token_channels=48",
                f"encoder.weights={file.path}",
                f"encoder.sha256={file.sha256}",
                *RUN,
                "federation.rounds=1",
            ]
        )


def test_low_rank_layers_are_trained_and_only_they_travel_back(
    hospitals: Hospitals, lora_settings: Settings
) -> None:
    store = hospitals.play(lora_settings, "low-rank", "internal")
    release = read_release(store.release_folder, coordinator_key=hospitals.home.key().public_hex)
    sha256 = str(store.plan.encoder_sha256)
    for name in ("aster", "birch"):  # the frozen part came once, as a file with its hash
        assert open_site(hospitals.folders.site(name)).encoder_file(sha256).exists()
    model = build_model(lora_settings, lora_settings.seed, store.encoder_file)
    names = [name for name, _ in layout(model)]
    assert all(name.startswith("head.") or name.endswith((".down", ".up")) for name in names)
    n_pairs = 2 * 4 * 4 * (48 + 48)  # two blocks, q k v and output, rank 4
    n_head = sum(w.numel() for name, w in trainable(model) if name.startswith("head."))
    assert release.weights.size == n_pairs + n_head < 5000
    assert vector_sha256(flatten_weights(model)) == store.plan.initial_weights_sha256
    assert (release.weights != flatten_weights(model)).mean() > 0.99
    assert measured_sites(store) == {"aster", "birch", "pooled"}


def test_a_plan_cannot_be_written_without_the_file_that_is_to_learn(
    hospitals: Hospitals, lora_settings: Settings
) -> None:
    Path(str(lora_settings.encoder.weights)).write_bytes(b"another file")
    with pytest.raises(RunError) as caught:
        hospitals.approved_run(lora_settings, "no-file")
    assert caught.value.code == "run.wrong-encoder"
