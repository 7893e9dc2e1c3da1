"""Columns of several networks are clustered on public films; the option that is written composes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from server.encoders import public_clusters
from server.encoders.public_clusters import cluster_films, clusters_of, write_learner
from server.federation.compose import compose_settings
from shared.errors import SettingsError
from shared.learners.selection import SelectionSettings
from shared.learners.varclus import VarclusSettings
from shared.stages.learner import table_task

CSSC = ["experiment=cssc"]


def drawn(n: int, *, seed: int, progress: object = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Films of noise of many grains instead of hips, which take long to draw."""
    generator = torch.Generator().manual_seed(seed)
    coarse = [torch.rand(n, 1, size, size, generator=generator) for size in (4, 16, 128)]
    films = sum(torch.nn.functional.interpolate(each, size=(128, 128)) for each in coarse)
    return (films / 3 * 255).to(torch.uint8), torch.zeros(n, 3)


def test_columns_of_hidden_quantities_fall_into_their_clusters_representatives_first() -> None:
    draw = np.random.default_rng(1)
    hidden = draw.normal(size=(400, 2))
    columns = np.repeat(hidden, 3, axis=1) + np.array([0.9, 0.3, 0.6] * 2) * draw.normal(size=(400, 6))
    found = clusters_of(columns, [*"abcdef"], max_clusters=1000)
    assert {each.cluster: each.column for each in reversed(found)} == {1: "b", 2: "e"} or {
        each.cluster: each.column for each in reversed(found)
    } == {1: "e", 2: "b"}
    assert sorted(each.column for each in found) == [*"abcdef"]


def test_the_written_option_keeps_one_column_of_each_cluster_and_every_clinical_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_clusters, "draw_films", drawn)
    settings = compose_settings(CSSC)
    found = cluster_films(settings, max_clusters=5, n_films=60)
    assert len(found) == 48
    n_kept = write_learner(tmp_path / "learner" / "mine.yaml", found, then="logistic", n_films=60)
    assert n_kept == 5
    own = compose_settings([*CSSC, "learner=mine"], own=tmp_path).learner
    assert isinstance(own, SelectionSettings)
    assert (own.keep, own.among, own.then.kind) == (5, "films", "logistic")
    assert isinstance(own.by, VarclusSettings)
    assert own.by.public == found
    assert own.by.share_at(3.0) == own.by.share_at(None) == 0.0


def test_the_shipped_option_names_the_columns_of_three_encoders() -> None:
    settings = compose_settings(CSSC)
    assert isinstance(settings.learner, SelectionSettings)
    assert isinstance(settings.learner.by, VarclusSettings)
    films = [each for each in table_task(settings, 3.0).columns if each.source != "clinical"]
    assert {each.column for each in settings.learner.by.public} == {each.name for each in films}
    assert settings.learner.keep == len({each.cluster for each in settings.learner.by.public})


def test_features_without_columns_of_films_have_nothing_to_cluster() -> None:
    settings = compose_settings(["experiment=hip_table"])
    with pytest.raises(SettingsError, match="must name encoders or radiomics") as error:
        cluster_films(settings)
    assert error.value.code == "settings.no-film-columns"
