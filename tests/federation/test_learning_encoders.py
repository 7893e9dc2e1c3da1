"""Encoders that learn inside a whole federation: films reach the update, and only what learns travels.

Three small synthetic hospitals with real DICOM films, ingested once; a whole ResNet from the seed with
canaries beside its patients, then DINOv2 with low-rank layers from a file, small and of random weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from practice_films import pack_random_dinov2, small_dinov2

from client.answers.answer import answer_sum
from client.cohort.patients import SplitData, load_split
from client.gate.gate import open_gate
from client.gate.register import register_file
from client.site.folder import open_site
from server.demo.loopback import small_sites
from server.demo.play import (
    DemoFolders,
    found_federation,
    fresh_folders,
    generate,
    ingest_all,
    read_new_film,
)
from server.engines.launch import launch_stage
from server.federation.compose import compose_settings
from server.federation.folder import Home
from server.federation.plan import draft_plan, save_plan
from server.report.collect import collect_results
from server.run.folder import RunStore
from server.run.prepare import prepare
from server.run.release import make_release
from server.synthetic.hospitals import Defects, SyntheticSite
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

SIZES = {"aster": 26, "birch": 20, "dune": 14}
SMALL = ["federation.rounds=2", "federation.local_steps=1", "privacy.sample_rate=0.5", "fusion=linear"]
RUN = ["privacy.epsilon=2", "federation.poll_s=0.01", *SMALL]


@dataclass(frozen=True)
class Hospitals:
    """Hospitals that have ingested, and the coordinator that they joined."""

    folders: DemoFolders
    home: Home
    sites: tuple[SyntheticSite, ...]

    def approved_run(self, settings: Settings, run: str) -> RunStore:
        """A run whose plan every hospital has approved."""
        plan = draft_plan(
            settings,
            self.home.active_sites(),
            run=run,
            coordinator_key=self.home.key().public_hex,
            now=open_site(self.folders.site("aster")).clock(),
        )
        save_plan(self.home, plan)
        for name in SIZES:
            site = open_site(self.folders.site(name))
            read = site.approvals.import_plan(self.home.run_folder(run) / "plan.json")
            site.approvals.decide(read, "approved", by="Ada Byron", now=site.clock())
        return prepare(self.home, run)

    def play(self, store: RunStore) -> None:
        """Rounds, release and internal validation, each over Flower's apps."""
        site_folders = {name: self.folders.site(name).resolve() for name in SIZES}
        launch_stage(store, "train", site_folders=site_folders)
        make_release(store, self.home.key())
        launch_stage(store, "internal", site_folders=site_folders)

    def training(self, store: RunStore, name: str = "aster") -> SplitData:
        """A hospital's training patients as the run's model takes them."""
        site = open_site(self.folders.site(name))
        return load_split(site, store.plan, name="hip_bmd", split="train")


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Hospitals:
    known = {site.name: site for site in small_sites()}
    sites = tuple(
        replace(known[name], n_patients=size, defects=Defects()) for name, size in SIZES.items()
    )
    settings = compose_settings(["encoder=resnet_gn", *RUN])
    folders = fresh_folders(tmp_path_factory.mktemp("learning") / "federation")
    generate(folders, sites, seed=3)
    home = found_federation(folders, sites, settings)
    ingest_all(folders, sites, settings)
    for name in SIZES:  # so few patients need a hospital that wants it so
        path = folders.site(name) / "policy.yaml"
        small = {"minimum_cohort_patients": 5, "minimum_cell": 2, "epsilon_lifetime": 30.0}
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | small))
    return Hospitals(folders, home, sites)


@pytest.fixture(scope="module")
def whole(hospitals: Hospitals) -> RunStore:
    """A whole ResNet, trained, released and validated."""
    settings = compose_settings(["encoder=resnet_gn", "privacy.canaries=6", *RUN])
    store = hospitals.approved_run(settings, "whole-resnet")
    hospitals.play(store)
    return store


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
    batch = hospitals.training(whole).batch
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
        batch = hospitals.training(whole, name).batch
        assert set(batch.makers) == made[name]
        assert ((batch.film_maker > 0) == (batch.film_exam >= 0)).all()


def test_without_the_films_pixels_the_update_is_another_one(
    hospitals: Hospitals, whole: RunStore
) -> None:
    data = hospitals.training(whole)
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
    gate = open_gate(site.folder, site=site.name, key=site.key, clock=site.clock)
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
    store = hospitals.approved_run(lora_settings, "low-rank")
    hospitals.play(store)
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
