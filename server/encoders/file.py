"""The coordinator's file of an encoder, found by name and checked by hash. Imports the settings."""

from __future__ import annotations

from pathlib import Path

from shared.contract.model_settings import EncoderSettings, ModelSettings
from shared.errors import RunError
from shared.machine.files import PROJECT
from shared.signing.canonical import hash_file

# Beside the packages, in a checkout and where OsteoFed is installed.
CONFIG_WEIGHTS = PROJECT / "configs" / "encoder"


def encoder_file(encoder: EncoderSettings) -> Path | None:
    """The coordinator's file of an encoder; None where there is none, or it starts from the seed.

    Raises:
        RunError: the file is missing or has another hash.
    """
    if encoder.name == "none" or not encoder.weights:
        return None
    return named_file(encoder.weights, encoder.sha256)


def encoder_files(settings: ModelSettings) -> tuple[Path, ...]:
    """The coordinator's files of every encoder of a run.

    Raises:
        RunError: a file is missing or has another hash.
    """
    return tuple(named_file(each.weights, each.sha256) for each in settings.encoders)


def named_file(weights: str, sha256: str) -> Path:
    """A file that lies beside the configuration, or at an absolute path.

    Raises:
        RunError: the file is missing or has another hash.
    """
    path = CONFIG_WEIGHTS / weights  # an absolute path stays what it is
    if not path.is_file() or hash_file(path) != sha256:
        raise RunError(
            "wrong-encoder",
            f"{path.name} is missing or is not the file that the plan names",
            hint="`make pretrain` remakes the default; else set encoder.weights and its sha256",
        )
    return path
