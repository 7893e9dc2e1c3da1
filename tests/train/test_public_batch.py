"""The probe that tries a model before any patient is touched."""

from __future__ import annotations

import pytest
from torch import nn

from server.compose import compose_settings
from shared.errors import PrivacyError
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


def test_every_category_occurs() -> None:
    settings = compose_settings()
    batch = draw_public_batch(settings)
    for place, field in enumerate(settings.cohort.fields):
        if field.kind == "category":
            values = batch.fields[..., place][batch.field_mask[..., place]]
            assert set(values.tolist()) == {float(n) for n in range(len(field.categories))}


def test_a_model_with_a_tensor_that_never_learns_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    build = public_batch.build_model

    def build_with_dead_weight(settings: object, generator_seed: int) -> nn.Module:
        model = build(settings, generator_seed)  # type: ignore[arg-type]
        model.forgotten = nn.Linear(2, 2)
        return model

    monkeypatch.setattr(public_batch, "build_model", build_with_dead_weight)
    with pytest.raises(PrivacyError, match=r"forgotten\.weight gets no gradient"):
        validate_settings_model(compose_settings())
