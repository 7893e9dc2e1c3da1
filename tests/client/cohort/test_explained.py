"""A split with its masks: what a measure of bone reads of a site's cohort, computed once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from practice_plan import plan_of

import client.cohort.explained as explaining
from client.cohort.assemble import ExamArrays
from client.cohort.explained import explain_split
from client.cohort.hidden_films import hide_bone, hide_else
from client.cohort.patients import SplitData
from client.site.folder import Site
from server.encoders.file import CONFIG_WEIGHTS
from server.federation.compose import compose_settings
from shared.contract.plan import Plan
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.model.encoders import encode, load_encoder
from shared.signing.canonical import hash_file
from shared.stages.explained import NO_MASK, shares_of_places
from shared.train.film_columns import measure_films

N, PIXELS, UNMASKED = 5, 128, 3
TINY = CONFIG_WEIGHTS / "tiny.safetensors"


def planned(*overrides: str) -> Plan:
    settings = compose_settings(["fusion=linear", "device=cpu", *overrides])
    plan = plan_of(settings, {"alder": 100})
    return plan.model_copy(update={"encoder_sha256": settings.encoder.sha256})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    held = {hash_file(path): path for path in CONFIG_WEIGHTS.glob("*.safetensors")}
    return SimpleNamespace(folder=tmp_path, encoder_file=held.__getitem__)


def split(*, masked: bool = True) -> SplitData:
    """Five patients of one exam and one film each; the fourth film has no mask."""
    draw = np.random.default_rng(0)
    images = draw.random((N, PIXELS, PIXELS)).astype(np.float16)
    masks = np.zeros((N, PIXELS, PIXELS), dtype=np.bool_)
    for film in range(N):
        if film != UNMASKED:
            masks[film, 20 : 60 + film, 40:70] = True
    cohort = SimpleNamespace(
        fingerprint="a" * 64,
        images=images,
        masks=masks if masked else None,
        preprocessing=PREPROCESSING_VERSION,
        film_keys=lambda: [str(film) for film in range(N)],
        film_makers=lambda: [""] * N,
    )
    k = len(compose_settings().cohort.fields)
    arrays = ExamArrays(
        patients=tuple(str(patient) for patient in range(N)),
        exams=tuple(SimpleNamespace(exam=exam) for exam in range(N)),
        fields=np.zeros((N, k), np.float32),
        field_mask=np.ones((N, k), dtype=np.bool_),
        target=np.linspace(0.5, 0.9, N),
        exam_mask=np.ones(N, dtype=np.bool_),
        patient_index=np.arange(N),
        exam_films=tuple((film,) for film in range(N)),
    )
    return SplitData(cohort=cohort, arrays=arrays, batch=None)


def test_hidden_films_go_through_the_frozen_encoder_as_films_do(site: Site) -> None:
    plan, data = planned(), split()
    found = explain_split(site, plan, data, reads="hidden")
    encoder = load_encoder(plan.settings.encoder, TINY)

    def tokens_of(films: list[np.ndarray]) -> torch.Tensor:
        return encode(encoder, torch.from_numpy(np.stack(films).astype(np.float32))[:, None])

    films, masks = data.cohort.images, data.cohort.masks
    assert torch.equal(found.own.tokens[:, 0], tokens_of(list(films)))
    for batch, hide in zip(found.hidden, (hide_bone, hide_else), strict=True):
        expected = tokens_of([hide(*each) for each in zip(films, masks, strict=True)])
        assert torch.equal(batch.tokens[:, 0], expected)
        changed = (batch.tokens[:, 0] != found.own.tokens[:, 0]).flatten(1).any(dim=1)
        assert changed.tolist() == [film != UNMASKED for film in range(N)]
    shares = torch.from_numpy(shares_of_places(masks, 4)).float()
    assert torch.equal(found.bone[:, 0], shares)
    assert found.is_assessed().tolist() == [film != UNMASKED for film in range(N)]


def test_films_are_hidden_and_encoded_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = explain_split(site, planned(), split(), reads="hidden")
    monkeypatch.setattr(explaining, "hidden_films", lambda *_: pytest.fail("hidden again"))
    again = explain_split(site, planned(), split(), reads="hidden")
    for one, other in zip(first.hidden, again.hidden, strict=True):
        assert torch.equal(one.tokens, other.tokens)


def test_maps_need_no_hidden_film(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "hidden_films", lambda *_: pytest.fail("hidden"))
    assert explain_split(site, planned(), split(), reads="maps").hidden == ()


def test_an_encoder_that_learns_gets_the_films_themselves(site: Site) -> None:
    plan = planned("experiment=resnet_gn", "fusion=linear")
    data = split()
    found = explain_split(site, plan, data, reads="hidden")
    shown = found.own.with_films().tokens[:, 0].numpy()
    assert np.array_equal(shown, data.cohort.images.astype(np.float32))
    hidden = found.hidden[0].with_films().tokens[:, 0].numpy()
    expected = [hide_bone(*each) for each in zip(data.cohort.images, data.cohort.masks, strict=True)]
    assert np.array_equal(hidden, np.stack(expected).astype(np.float32))
    assert torch.equal(
        found.bone[:, 0], torch.from_numpy(shares_of_places(data.cohort.masks, 4)).float()
    )


def test_without_masks_nobody_is_assessed(site: Site) -> None:
    found = explain_split(site, planned(), split(masked=False), reads="hidden")
    assert (found.bone[:, 0] == NO_MASK).all()
    assert not found.is_assessed().any()
    for batch in found.hidden:
        assert torch.equal(batch.tokens, found.own.tokens)


SOURCES = {
    # cells alone have places; radiomics beside them are of the whole film
    "[{kind:encoder,encoder:standin_resnet,token_grid:4,components:2}]": 4,
    "[{kind:encoder,encoder:standin_resnet,token_grid:4,components:2},{kind:radiomics,components:4,"
    "sha256:1980aefa9c1a44bab8a83a69aaf2d461d544c86b4750ddf86b9e28f55dc22914}]": 1,
}


@pytest.mark.parametrize("sources", SOURCES)
def test_hidden_films_go_through_sources_of_features_as_films_do_and_once(
    site: Site, sources: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("task=bmd_classes", "encoder=none", "fusion=clinical_only", "learner=lda")
    settings = compose_settings([*words, f"features.sources={sources}", "device=cpu"])
    plan, data = plan_of(settings, {"alder": 100}), split()
    films, masks = data.cohort.images, data.cohort.masks
    data.cohort.schema = SimpleNamespace(crops=None)
    found = explain_split(site, plan, data, reads="hidden")
    own = measure_films(films, settings, site.encoder_file)
    assert np.array_equal(found.own.film_columns[:, 0].numpy(), own)
    for batch, hide in zip(found.hidden, (hide_bone, hide_else), strict=True):
        changed = np.stack([hide(*each) for each in zip(films, masks, strict=True)])
        expected = measure_films(changed.astype(np.float32), settings, site.encoder_file)
        assert np.array_equal(batch.film_columns[:, 0].numpy(), expected)
        is_other = (batch.film_columns[:, 0].numpy() != own).any(axis=1)
        assert is_other.tolist() == [film != UNMASKED for film in range(N)]
    shares = torch.from_numpy(shares_of_places(masks, SOURCES[sources])).float()
    assert torch.equal(found.bone[:, 0], shares)
    assert found.is_assessed().tolist() == [film != UNMASKED for film in range(N)]
    monkeypatch.setattr(explaining, "hidden_films", lambda *_: pytest.fail("hidden again"))
    again = explain_split(site, plan, data, reads="hidden")
    for one, other in zip(found.hidden, again.hidden, strict=True):
        assert torch.equal(one.film_columns, other.film_columns)
