"""Fills in what a source of features leaves to its encoder: file, hash, width, and size of components.

A source names an option of ``configs/encoder``; what it says itself comes first. So a plan holds by
value all that its columns follow from. Imports the coordinator's encoder files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from server.encoders.file import named_file
from shared.errors import SettingsError
from shared.features.components import MOST_CELLS, MOST_COMPONENTS, read_spreads
from shared.machine.yaml_file import load_yaml
from shared.strict import nearest

_OF_ENCODER = ("weights", "sha256", "token_channels")


def fill_sources(composed: Mapping[str, object], folders: Sequence[Path]) -> dict[str, object]:
    """Composed settings whose sources of encoders are whole.

    Args:
        composed: settings as YAML has them; what is not valid in them is left as it is.
        folders: with options, ``encoder/NAME.yaml``.

    Raises:
        SettingsError: ``no-such-encoder``: a source names no option.
        RunError: a file is missing or has another hash.
        WeightsError: ``no-components``, ``no-cells``: a file lacks the components that are asked.
    """
    features = composed.get("features")
    if not isinstance(features, Mapping) or not isinstance(features.get("sources"), list):
        return dict(composed)
    own = composed.get("encoder")
    filled = [_fill(source, own, folders) for source in features["sources"]]
    return {**composed, "features": {**features, "sources": filled}}


def _fill(source: object, own: object, folders: Sequence[Path]) -> object:
    if not isinstance(source, Mapping):
        return source
    if source.get("kind") == "image" and isinstance(own, Mapping):
        return {**source, **_spreads(source, own)}
    if source.get("kind") != "encoder":
        return source
    chosen = str(source.get("encoder"))
    option = _option(chosen, folders)
    known = {key: option[key] for key in _OF_ENCODER if key in option}
    whole = {"name": chosen, "components": 16, **known, **source, "encoder": option.get("name", chosen)}
    return {**whole, **_spreads(whole, whole)}


def _option(chosen: str, folders: Sequence[Path]) -> Mapping[str, object]:
    files = {path.stem: path for folder in folders for path in folder.glob("encoder/*.yaml")}
    usable = sorted(set(files) - {"none"})
    if chosen not in usable:
        raise SettingsError(
            "no-such-encoder",
            f"features.sources: encoder must be one of {usable}, not '{chosen}'"
            + nearest(chosen, usable),
            hint="the options are the files in configs/encoder, and your own beside --configs",
        )
    content = load_yaml(files[chosen])
    return content if isinstance(content, Mapping) else {}


def _spreads(source: Mapping[str, object], encoder: Mapping[str, object]) -> dict[str, object]:
    """The usual size of each component, from the encoder's file; nothing where settings are refused."""
    n_components, grid = source.get("components"), source.get("token_grid", 1)
    weights, sha256 = encoder.get("weights"), encoder.get("sha256")
    if not isinstance(n_components, int) or not 1 <= n_components <= MOST_COMPONENTS:
        return {}
    if not isinstance(grid, int) or not 1 <= grid <= MOST_CELLS or not (weights and sha256):
        return {}
    file = named_file(str(weights), str(sha256))
    return {"spreads": read_spreads(file, n_components, grid=grid)}
