"""Every fusion is what its settings say, and does what an exam with gaps needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.func import functional_call, grad, vmap

from shared.contract.settings import Settings, read_settings
from shared.errors import SettingsError
from shared.model.attention import KeyMask
from shared.model.build import build_model
from shared.model.clinical_tokens import ClinicalTokens
from shared.model.fusion import CrossAttentionFusion, exam_means, films_of_exams, grid_positions
from shared.model.weights import flatten_weights, layout_sha256, trainable

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
# Variants of one fusion, by what is changed of it.
VARIANTS: dict[str, dict[str, object]] = {
    "image_reads": {"directions": "image_reads"},
    "clinical_reads": {"directions": "clinical_reads"},
    "hidden_head": {"head_hidden": 8},
}
FUSIONS = ("cross_attention", *VARIANTS, "concatenation", "linear", "image_only", "clinical_only")
Exam = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def read(part: str) -> dict[str, object]:
    content: dict[str, object] = yaml.safe_load((CONFIGS / f"{part}.yaml").read_text())
    content.pop("defaults", None)
    return content


def make_settings(fusion: str, *, task: str = "bmd_regression", **changes: object) -> Settings:
    if fusion in VARIANTS:
        fusion, changes = "cross_attention", {**VARIANTS[fusion], **changes}
    chosen = read(f"task/{task}")
    if task == "classification":
        chosen["positive_class"] = "osteoporosis"
    return read_settings(
        {
            "experiment": "test",
            "task": chosen,
            "cohort": read("cohort/hip_bmd"),
            "encoder": {
                "name": "tiny",
                "weights": "tiny.safetensors",
                "sha256": "0" * 64,
                "token_channels": 6,
                "token_grid": 2,
            },
            "fusion": {**read(f"fusion/{fusion}"), **changes},
            "privacy": {"mode": "off"},
            "strategy": {},
            "federation": {},
            "validation": {},
            "engine": {},
        }
    )


def make_exams(n: int = 3, *, views: int = 2, seed: int = 0) -> Exam:
    """Patients of one exam with every view and field; categories are valid indices."""
    draw = torch.Generator().manual_seed(seed)
    fields = torch.randn(n, 9, generator=draw)
    for column in (1, 7, 8):
        fields[:, column] = torch.randint(0, 2, (n,), generator=draw).float()
    return (
        torch.randn(n, views, 4, 6, generator=draw),
        torch.zeros(n, views, dtype=torch.int64),
        fields[:, None],
        torch.ones(n, 1, 9, dtype=torch.bool),
    )


def awake(fusion: str, **changes: object) -> nn.Module:
    """A model whose head is no longer zero."""
    model = build_model(make_settings(fusion, **changes), 3)
    draw = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for _, weight in trainable(model):
            weight += 0.2 * torch.randn(weight.shape, generator=draw)
    return model


@pytest.mark.parametrize("fusion", FUSIONS)
def test_output_at_the_start_is_zero_and_a_seed_fixes_the_weights(fusion: str) -> None:
    settings = make_settings(fusion)
    model = build_model(settings, 3)
    output = model(*make_exams())
    assert torch.equal(output, torch.zeros(3, 1, 1))
    assert np.array_equal(flatten_weights(model), flatten_weights(build_model(settings, 3)))
    if fusion in ("cross_attention", "concatenation"):
        other = flatten_weights(build_model(settings, 4))
        assert not np.array_equal(flatten_weights(model), other)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_padding_or_permuting_views_changes_nothing(fusion: str) -> None:
    model = awake(fusion)
    tokens, film_exam, fields, field_mask = make_exams()
    expected = model(tokens, film_exam, fields, field_mask)
    padded = torch.cat([tokens, 100.0 * torch.ones(3, 1, 4, 6)], dim=1)
    with_empty = torch.cat([film_exam, torch.full((3, 1), -1)], dim=1)
    torch.testing.assert_close(model(padded, with_empty, fields, field_mask), expected)
    torch.testing.assert_close(model(tokens.flip(1), film_exam, fields, field_mask), expected)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_each_exam_of_a_patient_is_read_with_its_own_films_and_fields_alone(fusion: str) -> None:
    model = awake(fusion)
    first, second = make_exams(), make_exams(seed=1)
    films = torch.cat([first[0], second[0]], dim=1)[:, [2, 0, 3, 1]]
    film_exam = torch.tensor([1, 0, 1, 0]).expand(3, 4)
    values = (torch.cat(pair, dim=1) for pair in zip(first[2:], second[2:], strict=True))
    together = model(films, film_exam, *values)
    assert together.shape == (3, 2, 1)
    expected = torch.cat([model(*first), model(*second)], dim=1)
    torch.testing.assert_close(together, expected, rtol=1e-4, atol=1e-6)
    assert (expected[:, 0] - expected[:, 1]).abs().max() > 1e-2


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_missing_fields_value_changes_nothing_but_its_absence_does(fusion: str) -> None:
    model = awake(fusion)
    tokens, film_exam, fields, field_mask = make_exams()
    here = model(tokens, film_exam, fields, field_mask)
    absent = field_mask.clone()
    absent[..., 3] = False
    other = fields.clone()
    other[..., 3] = 5.0
    gone = model(tokens, film_exam, fields, absent)
    assert torch.equal(gone, model(tokens, film_exam, other, absent))
    assert (gone - here).abs().max() > 1e-4 or fusion == "image_only"


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("views", [0, 1])
def test_an_exam_without_views_or_fields_gives_finite_outputs_and_gradients(
    fusion: str, views: int
) -> None:
    model = awake(fusion)
    tokens, film_exam, fields, field_mask = make_exams(views=views)
    output = model(tokens, torch.full_like(film_exam, -1), fields, torch.zeros_like(field_mask))
    torch.autograd.backward(output.square().sum())
    assert output.shape == (3, 1, 1)
    assert torch.isfinite(output).all()
    for _, weight in trainable(model):
        assert weight.grad is None or torch.isfinite(weight.grad).all()


def test_a_masked_field_gets_weight_zero_in_every_layer() -> None:
    model = awake("cross_attention")
    assert isinstance(model, CrossAttentionFusion)
    _, _, fields, field_mask = make_exams()
    field_mask[..., 4] = False
    clinical = model.clinical(fields, field_mask)[:, 0]
    image = torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(1))
    for layer in model.layers:
        weights = layer.image_from_clinical.weights(image, clinical, KeyMask.of(field_mask))
        assert torch.equal(weights[..., 4], torch.zeros(3, 4, 8))
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 8))


def shares(model: nn.Module, exam: Exam) -> torch.Tensor:
    assert isinstance(model, CrossAttentionFusion)
    with torch.no_grad():
        return model.field_attention(*exam)


def test_attention_to_fields_is_the_mean_weight_over_tokens_heads_and_layers() -> None:
    model = awake("cross_attention", layers=1)
    tokens, film_exam, fields, field_mask = make_exams(1)
    field_mask[..., 4] = False
    found = shares(model, (tokens, film_exam, fields, field_mask))
    image = (model.project(tokens) + model.positions).flatten(1, 2)  # [1,s·t,d]
    clinical = model.clinical(fields, field_mask)[:, 0]
    mask = KeyMask.of(field_mask)
    expected = model.layers[0].image_from_clinical.weights(image, clinical, mask).mean(dim=(1, 2))
    torch.testing.assert_close(found[:, 0], expected)
    assert found[0, 0, 4] == 0.0
    assert found.sum().item() == pytest.approx(1.0)
    whole = shares(awake("cross_attention"), make_exams())
    torch.testing.assert_close(whole.sum(-1), torch.ones(3, 1))
    without_film = shares(model, (tokens, torch.full_like(film_exam, -1), fields, field_mask))
    assert not without_film.any()
    assert not shares(awake("clinical_reads"), make_exams()).any(), "no film attends to a field"


def test_one_direction_has_the_weights_of_that_direction_alone() -> None:
    names = {
        fusion: {name for name, _ in trainable(build_model(make_settings(fusion), 1))}
        for fusion in ("cross_attention", "image_reads", "clinical_reads")
    }
    shared = {name for name in names["cross_attention"] if not name.startswith("layers.")}
    assert names["image_reads"] | names["clinical_reads"] == names["cross_attention"]
    assert names["image_reads"] & names["clinical_reads"] == shared


def test_one_score_moves_the_odds_of_each_class_against_the_one_before_alike() -> None:
    settings = make_settings("linear", task="bmd_classes")
    odds = settings.model_copy(update={"task": settings.task.model_copy(update={"link": "odds"})})
    model = build_model(odds, 3)
    assert torch.equal(model(*make_exams()), torch.zeros(3, 1, 3)), "at the start all are as likely"
    draw = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for _, weight in trainable(model):
            weight += torch.randn(weight.shape, generator=draw)
        scores = model(*make_exams())[:, 0]
    log_odds = scores.diff(dim=1)  # [3,2]
    moved = log_odds[1:] - log_odds[0]
    torch.testing.assert_close(moved[:, 1], moved[:, 0])
    assert moved.abs().min() > 1e-2
    linear = {name: weight.numel() for name, weight in trainable(build_model(settings, 3))}
    one = {name: weight.numel() for name, weight in trainable(model)}
    assert one.pop("classes.bias") == 3
    assert sum(one.values()) == sum(linear.values()) // 3


def test_cross_attention_sees_interactions_that_a_sum_of_parts_cannot() -> None:
    model = awake("cross_attention")
    tokens, film_exam, fields, mask = make_exams(1)
    tokens_2, _, fields_2, _ = make_exams(1, seed=1)
    corners = [
        model(image, film_exam, clinical, mask).item()
        for image in (tokens, tokens_2)
        for clinical in (fields, fields_2)
    ]
    assert abs(corners[0] - corners[1] - corners[2] + corners[3]) > 1e-3


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_trainable_tensor_learns_once_the_head_has_moved(fusion: str) -> None:
    model = build_model(make_settings(fusion), 3)
    tokens, film_exam, fields, field_mask = make_exams(16)
    field_mask = torch.rand(16, 1, 9, generator=torch.Generator().manual_seed(4)) > 0.2
    target = torch.randn(16, 1, 1, generator=torch.Generator().manual_seed(5))
    moved: set[str] = set()
    for _ in range(2):
        loss = (model(tokens, film_exam, fields, field_mask) - target).square().mean()
        model.zero_grad()
        torch.autograd.backward(loss)
        with torch.no_grad():
            for name, weight in trainable(model):
                if weight.grad is not None and bool(weight.grad.abs().max() > 0):
                    moved.add(name)
                    weight -= 0.1 * weight.grad
    assert moved == {name for name, _ in trainable(model)}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_gradients_by_vmap_equal_those_one_by_one(fusion: str) -> None:
    model = awake(fusion).double()
    tokens, film_exam, fields, field_mask = make_exams(4)
    film_exam[1, 1] = -1
    field_mask[2, 0, 3:6] = False
    exams = (tokens.double(), film_exam, fields.double(), field_mask)
    weights = {name: weight.detach() for name, weight in trainable(model)}

    def loss_of(current: dict[str, torch.Tensor], exam: Exam) -> torch.Tensor:
        output = functional_call(model, current, exam)
        return (output - 1.0).square().sum()

    together = vmap(grad(loss_of), in_dims=(None, 0))(weights, exams)
    for row in range(4):
        alone = grad(loss_of)(weights, tuple(part[row] for part in exams))
        for name in weights:
            torch.testing.assert_close(together[name][row], alone[name], atol=1e-12, rtol=1e-9)


def test_layout_hash_changes_with_architecture() -> None:
    variants = [build_model(make_settings(fusion), 1) for fusion in FUSIONS]
    variants.append(build_model(make_settings("cross_attention", width=32), 1))
    variants.append(build_model(make_settings("cross_attention", layers=1), 1))
    variants.append(build_model(make_settings("concatenation", hidden=32), 1))
    assert len({layout_sha256(model) for model in variants}) == len(variants)


def test_classification_has_one_output_per_class() -> None:
    model = build_model(make_settings("linear", task="classification"), 1)
    assert model(*make_exams()).shape == (3, 1, 3)


def test_image_only_ignores_fields_and_clinical_only_ignores_films() -> None:
    tokens, film_exam, fields, mask = make_exams()
    image, clinical = awake("image_only"), awake("clinical_only")
    assert torch.equal(
        image(tokens, film_exam, fields, mask), image(tokens, film_exam, fields + 1, mask)
    )
    assert torch.equal(
        clinical(tokens, film_exam, fields, mask), clinical(tokens + 1, film_exam, fields, mask)
    )


def test_cross_attention_over_one_image_token_is_refused() -> None:
    settings = make_settings("cross_attention")
    one_token = settings.encoder.model_copy(update={"token_grid": 1})
    with pytest.raises(SettingsError) as caught:
        build_model(settings.model_copy(update={"encoder": one_token}), 1)
    assert caught.value.code == "settings.one-image-token"


def test_cross_attention_over_one_clinical_field_is_refused() -> None:
    settings = make_settings("cross_attention")
    one = settings.cohort.model_copy(update={"fields": settings.cohort.fields[:1]})
    with pytest.raises(SettingsError, match="at least 2 clinical fields, not 1") as caught:
        build_model(settings.model_copy(update={"cohort": one}), 1)
    assert caught.value.code == "settings.one-clinical-field"


def test_one_key_is_refused_only_of_the_direction_that_reads_it() -> None:
    for fusion, part, change in (
        ("clinical_reads", "cohort", {"fields": make_settings("linear").cohort.fields[:1]}),
        ("image_reads", "encoder", {"token_grid": 1}),
    ):
        settings = make_settings(fusion)
        changed = getattr(settings, part).model_copy(update=change)
        model = build_model(settings.model_copy(update={part: changed}), 1)
        assert isinstance(model, CrossAttentionFusion)


def test_positions_differ_between_cells_and_know_rows_from_columns() -> None:
    positions = grid_positions(4, 16)
    assert positions.shape == (16, 16)
    distances = torch.cdist(positions, positions) + 10.0 * torch.eye(16)
    assert distances.min() > 0.1
    assert torch.equal(positions[1, :8], positions[2, :8])  # same row
    assert torch.equal(positions[1, 8:], positions[5, 8:])  # same column


def test_a_clinical_token_starts_as_large_with_many_fields_as_with_few() -> None:
    model = build_model(make_settings("cross_attention"), 3)
    [tokens] = [each for each in model.modules() if isinstance(each, ClinicalTokens)]
    assert tokens.embed.in_features > 10
    # a value meets its slope and its intercept, whatever else there is
    assert tokens.embed.weight.std().item() == pytest.approx(0.5**0.5, rel=0.1)


def test_an_exam_is_the_mean_of_its_films_tokens_however_many_it_has() -> None:
    tokens = torch.tensor([[[[1.0], [3.0]], [[5.0], [7.0]], [[10.0], [30.0]]]])  # [1,3,2,1]
    of_exam = films_of_exams(torch.tensor([[0, 0, 1]]), 3)
    assert exam_means(tokens, of_exam).flatten().tolist() == [4.0, 20.0, 0.0]
