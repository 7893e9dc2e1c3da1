"""The probe that tries a model before any patient is touched."""

from __future__ import annotations

import pytest
from torch import nn

from server.federation.compose import compose_followed, compose_settings
from shared.errors import PrivacyError
from shared.features.columns import make_columns
from shared.model.encoders import Encoder
from shared.stages.learner import table_task
from shared.train import public_batch
from shared.train.public_batch import draw_public_batch, validate_settings_model

FUSIONS = ["cross_attention", "concatenation", "linear", "image_only"]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_shipped_fusion_lets_every_tensor_learn(fusion: str) -> None:
    validate_settings_model(compose_settings([f"fusion={fusion}"]))


def test_clinical_fusion_works_without_films() -> None:
    validate_settings_model(compose_settings(["fusion=clinical_only", "encoder=none"]))


def test_every_field_is_present_somewhere_and_missing_somewhere() -> None:
    batch = draw_public_batch(compose_settings())
    mask = batch.field_mask.flatten(0, 1)
    assert mask.any(dim=0).all()
    assert (~mask).any(dim=0).all()


def test_invented_people_have_columns_of_films_without_an_encoder() -> None:
    ready = ("task=bmd_classes", "learner=lda", "encoder=none", "fusion=clinical_only")
    for features, width in (("radiomics", 16), ("three_encoders", 48)):
        settings = compose_settings([f"features={features}", *ready])
        batch = draw_public_batch(settings)
        assert batch.film_columns.shape == (*batch.film_exam.shape, width)
        columns = make_columns(
            batch,
            settings.cohort.fields,
            is_class=True,
            channels=0,
            layout=settings.features.layout,
        ).columns
        assert columns.shape[1] == len(table_task(settings, 1.0).columns)
        assert (columns[:, :width].std(axis=0) > 0).all()
    assert draw_public_batch(compose_settings(ready)).film_columns.shape[1:] == (0, 0)


def test_every_category_occurs() -> None:
    settings = compose_settings()
    batch = draw_public_batch(settings)
    for place, field in enumerate(settings.cohort.fields):
        if field.kind == "category":
            values = batch.fields[..., place][batch.field_mask[..., place]]
            assert set(values.tolist()) == {float(n) for n in range(len(field.categories))}


def test_a_model_with_a_tensor_that_never_learns_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    build = public_batch.build_model

    def build_with_dead_weight(*arguments: object, **names: object) -> nn.Module:
        model = build(*arguments, **names)  # type: ignore[arg-type]
        model.forgotten = nn.Linear(2, 2)
        return model

    monkeypatch.setattr(public_batch, "build_model", build_with_dead_weight)
    with pytest.raises(PrivacyError, match=r"forgotten\.weight gets no gradient"):
        validate_settings_model(compose_settings())


def test_a_whole_resnet_is_tried_on_films_and_lets_every_tensor_learn() -> None:
    settings = compose_settings(["encoder=resnet_gn", "fusion=linear"])
    batch = draw_public_batch(settings)
    assert batch.tokens.shape == (6, settings.privacy.max_views, 128, 128)
    assert 0 <= float(batch.tokens.min()) < float(batch.tokens.max()) <= 1
    validate_settings_model(settings)


def test_an_encoder_that_is_to_learn_and_gets_no_gradient_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", lambda self, films: read(self, films).detach())
    with pytest.raises(PrivacyError) as caught:
        validate_settings_model(compose_settings(["encoder=resnet_gn", "fusion=linear"]))
    assert "encoder.network.stem.weight gets no gradient" in caught.value.fact
    assert "encoder.network.blocks.3.conv2.weight gets no gradient" in caught.value.fact
    assert "head." not in caught.value.fact


def test_a_model_of_films_alone_is_tried_without_clinical_fields() -> None:
    settings, _ = compose_followed([], cohort="mura_wrist")
    assert draw_public_batch(settings).fields.shape == (6, settings.caps.max_exams, 0)
    validate_settings_model(settings)
