"""The coordinator's encoder file: found by name or path, and only with the plan's hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.encoders.file import CONFIG_WEIGHTS, encoder_file
from server.federation.compose import compose_settings
from shared.contract.model_settings import EncoderSettings
from shared.errors import RunError
from shared.signing.canonical import sha256_hex


def test_the_default_encoder_is_the_one_in_the_configuration() -> None:
    assert encoder_file(compose_settings([]).encoder) == CONFIG_WEIGHTS / "tiny.safetensors"


def test_without_an_encoder_and_from_a_seed_there_is_no_file() -> None:
    assert encoder_file(EncoderSettings(name="none")) is None
    assert encoder_file(EncoderSettings(name="resnet_gn", training="full")) is None


def test_a_file_of_another_hash_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    settings = EncoderSettings(name="tiny", weights=str(path), sha256=sha256_hex(b"weights"))
    for content in (None, b"other weights"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(RunError) as caught:
            encoder_file(settings)
        assert caught.value.code == "run.wrong-encoder"
    path.write_bytes(b"weights")
    assert encoder_file(settings) == path
