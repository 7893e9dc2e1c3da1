"""Public constants of radiomics are made of public films only, and equal seeds give an equal file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from server.encoders.public_radiomics import fit_constants, name_constants, write_constants
from shared.features.components import MOST_COMPONENTS
from shared.features.radiomics.table import feature_names
from shared.features.radiomics_block import ALL, read_constants, standardise_features


def test_components_are_those_of_the_standardised_features() -> None:
    rng = np.random.default_rng(3)
    mixed = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 40)) + 0.05 * rng.normal(size=(300, 40))
    found = fit_constants(5.0 + 2.0 * mixed)
    standard = np.stack([standardise_features(row, found) for row in 5.0 + 2.0 * mixed])
    assert found.variances[:3].sum() / np.var(standard, axis=0).sum() > 0.98
    scores = (standard - standard.mean(axis=0)) @ found.directions
    assert np.var(scores, axis=0) == pytest.approx(found.variances)


def test_the_largest_weight_of_a_component_is_positive_whatever_a_library_gives() -> None:
    mixed = np.random.default_rng(4).normal(size=(60, 8)) @ np.diag(np.arange(1.0, 9.0))
    directions = fit_constants(mixed).directions
    assert directions.shape == (8, 8)
    largest = np.abs(directions).argmax(axis=0)
    assert (directions[largest, np.arange(8)] > 0).all()


def test_every_radiomics_source_names_new_constants_whatever_it_named_and_no_other_source_does() -> (
    None
):
    old, encoder, new = "a" * 64, "b" * 64, "c" * 64
    block = f"""# sha256: of a file
sources:
  - kind: radiomics
    components: 16
    sha256: {old}
  - kind: encoder
    sha256: {encoder}
"""
    assert name_constants(block, new) == block.replace(old, new)
    flow = f"sources: [{{kind: encoder, sha256: {encoder}}}, {{kind: radiomics, sha256: {old}}}]"
    assert name_constants(flow, new) == flow.replace(old, new)
    without = f"sources: [{{kind: radiomics}}, {{kind: encoder, sha256: {encoder}}}]"
    assert name_constants(without, new) == without


def test_equal_seeds_give_an_equal_file(tmp_path: Path) -> None:
    first, again = (write_constants(tmp_path / name, n_films=4, seed=5) for name in ("a", "b"))
    assert first == again
    directions = read_constants(first, tmp_path / "a").directions
    assert directions.shape == (len(feature_names(ALL)), MOST_COMPONENTS)
