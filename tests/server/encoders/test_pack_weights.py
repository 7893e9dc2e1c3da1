"""Own checkpoints become encoder files by one command, or are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from published_layouts import LAYOUTS, draw_state
from safetensors.torch import save_file
from typer.testing import CliRunner

from server.command.app import app
from server.encoders.pack_weights import pack_checkpoint
from server.federation.compose import compose_settings
from shared.errors import WeightsError
from shared.model.encoders import encode, load_encoder, make_encoder
from shared.model.weights import read_weights


def checkpoint_of(name: str, path: Path) -> None:
    torch.manual_seed(5)
    network = make_encoder(name, grid=1).network
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_(0, 0.02).abs_()
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)


@pytest.mark.slow
def test_a_packed_resnet_is_loaded_by_the_settings_that_the_command_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.encoders.pack_weights.PUBLIC_FILMS", 8)
    checkpoint_of("resnet34", tmp_path / "own.safetensors")
    packed = tmp_path / "packed.safetensors"
    words = ["weights", str(tmp_path / "own.safetensors"), "--encoder", "resnet34", "--json"]
    done = CliRunner().invoke(app, [*words, "--out", str(packed)])
    assert done.exit_code == 0, done.output
    settings = compose_settings(json.loads(done.stdout)["settings"].split(" "))
    tokens = encode(load_encoder(settings.encoder, packed), torch.rand(2, 1, 128, 128))
    assert tokens.shape == (2, 49, 512)
    assert torch.isfinite(tokens).all()


def test_a_checkpoint_of_another_network_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.encoders.pack_weights.PUBLIC_FILMS", 2)
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "own.safetensors")
    with pytest.raises(WeightsError) as caught:
        pack_checkpoint(tmp_path / "own.safetensors", tmp_path / "packed", encoder="resnet34")
    assert caught.value.code == "weights.wrong-layout"
    assert not (tmp_path / "packed").exists()


def test_a_layout_that_nobody_publishes_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="layout of resnet50 must be one of"):
        pack_checkpoint(tmp_path / "absent", tmp_path / "packed", encoder="resnet50", layout="dinov2")


def test_the_named_layout_stands_in_the_files_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.encoders.pack_weights.PUBLIC_FILMS", 2)
    shapes = LAYOUTS["efficientnet_lite0"][1]
    save_file(draw_state(shapes), tmp_path / "own.safetensors")
    pack_checkpoint(tmp_path / "own.safetensors", tmp_path / "packed", encoder="efficientnet_lite0")
    tensors, metadata = read_weights(tmp_path / "packed", sha256=None)
    assert isinstance(metadata["recipe"], dict)
    assert metadata["recipe"]["layout"] == metadata["layout"] == "efficientnet-lite0"
    assert not [name for name in tensors if name.startswith("_fc")]


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "exploded",))  # type: ignore[return-value]

    torch.save({"weight": Bomb()}, tmp_path / "own.pt")
    with pytest.raises(WeightsError) as caught:
        pack_checkpoint(tmp_path / "own.pt", tmp_path / "packed", encoder="resnet34")
    assert caught.value.code == "weights.unreadable-checkpoint"
    assert not (tmp_path / "exploded").exists()
