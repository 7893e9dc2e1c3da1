"""Task, cohort, encoder and fusion: what of them cannot stand together is refused by name."""

from __future__ import annotations

import pytest
import yaml
from practice_patients import CONFIGS
from practice_settings import changed, refused

from server.federation.compose import compose_settings
from shared.contract.settings import Settings, read_settings


@pytest.fixture(scope="module")
def shipped() -> Settings:
    return compose_settings()


def test_task_and_label_must_speak_of_the_same(shipped: Settings) -> None:
    classes = {"label": {"kind": "class", "column": "y", "classes": ["no", "yes"]}}
    number = {"label": {"kind": "number", "column": "y", "unit": "", "low": 0, "high": 1}}
    assert "regression needs a bmd or number label" in refused(changed(shipped, cohort=classes))
    wanted = {"task": {"kind": "classification", "endpoint": "ill", "positive_class": "yes"}}
    assert "classification needs a class or bmd label" in refused(
        changed(shipped, cohort=number) | wanted
    )
    probability = {"score_low": 0.0, "score_high": 1.0}
    content = changed(shipped, cohort=classes, validation=probability) | wanted
    assert read_settings(content).task.kind == "classification"


def test_an_encoder_that_learns_needs_a_fusion_that_reads_films(shipped: Settings) -> None:
    full = {"name": "resnet_gn", "training": "full", "weights": "", "sha256": ""}
    blind = {"fusion": {"name": "clinical_only"}}
    assert "needs a fusion that reads films" in refused(changed(shipped, encoder=full) | blind)
    settings = read_settings(changed(shipped, encoder=full))
    assert settings.encoder.starts_from_seed


def test_only_a_whole_network_without_a_file_starts_from_the_seed(shipped: Settings) -> None:
    encoder = shipped.encoder
    for name, training, weights, expected in (
        ("resnet_gn", "full", "", True),
        ("resnet_gn", "full", "file", False),
        ("tiny", "full", "", False),
        ("resnet_gn", "frozen", "", False),
    ):
        one = encoder.model_copy(
            update={"name": name, "training": training, "weights": weights, "sha256": ""}
        )
        assert one.starts_from_seed is expected, (name, training, weights)


def test_one_score_of_classes_needs_their_order(shipped: Settings) -> None:
    label = {"kind": "class", "column": "y", "classes": ["no", "old", "new"]}
    task = {"kind": "classification", "endpoint": "ill", "positive_class": "new", "link": "odds"}
    probability = {"score_low": 0.0, "score_high": 1.0}
    content = changed(shipped, cohort={"label": label}, validation=probability) | {"task": task}
    assert "task.link odds needs classes in an order" in refused(content)
    ordered = {"label": label | {"is_ordered": True}}
    content = changed(shipped, cohort=ordered, validation=probability) | {"task": task}
    assert read_settings(content).task.link == "odds"


def test_what_is_as_usual_leaves_a_plans_hash_as_it_was(shipped: Settings) -> None:
    assert set(shipped.fusion.model_dump()) == {"name", "width", "layers", "heads"}
    other = compose_settings(["experiment=xattn_bmd_image_reads", "fusion.head_hidden=4"])
    assert other.fusion.model_dump()["directions"] == "image_reads"
    assert other.fusion.model_dump()["head_hidden"] == 4
    classes = compose_settings(["experiment=xattn_bmd_classes"]).task.model_dump()
    assert classes["link"] == "odds"
    assert "link" not in compose_settings(["experiment=bmd_classes"]).task.model_dump()


def test_attention_heads_must_divide_the_width(shipped: Settings) -> None:
    attention = yaml.safe_load((CONFIGS / "fusion" / "cross_attention.yaml").read_text())
    text = refused(changed(shipped, fusion=attention | {"width": 10, "heads": 4}))
    assert "width 10 must be a multiple of heads 4" in text


def test_the_encoders_of_a_run_are_its_own_and_those_of_its_sources_each_file_once() -> None:
    asked = ["features=three_encoders", "task=bmd_classes", "learner=lda"]
    alone = compose_settings([*asked, "encoder=none", "fusion=clinical_only"])
    names = ["standin_vgg", "standin_inception", "standin_resnet"]
    assert [each.name for each in alone.encoders] == names
    assert {each.token_grid for each in alone.encoders} == {1}
    beside = compose_settings([*asked, "encoder=standin_resnet", "fusion=linear"])
    assert [each.name for each in beside.encoders] == ["standin_resnet", *names[:2]]
    assert beside.encoders[0] == beside.encoder
    # the token of the run's own encoder is no source of either
    assert not alone.reads_tokens
    assert not beside.reads_tokens
    assert compose_settings().reads_tokens
    assert not compose_settings(["encoder=resnet_gn"]).reads_tokens
    assert compose_settings(["encoder=none", "fusion=clinical_only"]).encoders == ()


CELLS = "{kind:encoder,encoder:standin_resnet,token_grid:4,components:2}"
COARSE = "{kind:encoder,encoder:standin_vgg,token_grid:2,components:2}"
MEAN = "{kind:encoder,encoder:standin_vgg,components:2}"


@pytest.mark.parametrize(
    ("sources", "encoder", "grid"),
    [
        (f"[{CELLS}]", ["encoder=none", "fusion=clinical_only"], 4),
        (f"[{CELLS},{{kind:clinical}}]", ["encoder=tiny", "fusion=linear"], 4),
        # the run's encoder's token beside cells; cells of two grids; a mean token beside cells
        (f"[{CELLS},{{kind:image}}]", ["encoder=tiny", "fusion=linear"], 0),
        (f"[{CELLS},{COARSE}]", ["encoder=none", "fusion=clinical_only"], 0),
        (f"[{CELLS},{MEAN}]", ["encoder=none", "fusion=clinical_only"], 0),
        (f"[{MEAN}]", ["encoder=none", "fusion=clinical_only"], 0),
    ],
)
def test_a_map_has_a_grid_where_all_that_is_read_of_a_film_lies_in_its_cells(
    sources: str, encoder: list[str], grid: int
) -> None:
    words = ["task=bmd_classes", "learner=lda", *encoder, f"features.sources={sources}"]
    settings = compose_settings(words)
    assert settings.looks_at_films
    assert settings.map_grid == grid
    if grid:
        assert settings.features.cells == tuple(cell for cell in range(16) for _ in range(2))


def test_without_an_encoder_or_a_source_of_films_no_film_is_looked_at() -> None:
    blind = compose_settings(["encoder=none", "fusion=clinical_only"])
    assert not blind.looks_at_films
    assert blind.map_grid == 0
    assert compose_settings().map_grid == compose_settings().encoder.token_grid > 0
