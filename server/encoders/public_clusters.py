"""Clusters of the columns of films, found on public synthetic films: no patient plays a part.

Components of one network are uncorrelated on the films they were fitted on; those of several networks
are not, so what is clustered are the joined columns of all sources of films. Imports the public films,
the sources and VARCLUS.

Legend: n films · f columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from server.encoders.file import encoder_files
from server.encoders.pretrain import Progress, draw_films
from shared.contract.settings import Settings
from shared.errors import SettingsError
from shared.features.columns import Floats
from shared.learners.varclus import PublicColumn, cluster_columns, explained
from shared.machine.files import PROJECT, write_atomic
from shared.machine.yaml_file import load_yaml
from shared.signing.canonical import hash_file
from shared.train.film_columns import measure_films

N_FILMS, SEED = 300, 20_243  # other films than those by which components were fitted
_DIGITS = 4
_HEAD = """# The representative of each cluster of the columns of films (VARCLUS), every clinical
# field, and {then} trained on them. Clusters are those of {n_films} public synthetic films (seed
# {seed}): the choice costs no patient anything. With learner.by.shares above 0 they are those of
# one noised matrix instead, unless its noise is above a tenth of a variance. Written by
# `osteofed-coordinator clusters`.
# The result is columns kept: a representative stands for its cluster, not for what a target follows.
"""


def cluster_films(
    settings: Settings,
    *,
    max_clusters: int = 1000,
    n_films: int = N_FILMS,
    progress: Progress | None = None,
) -> tuple[PublicColumn, ...]:
    """Clusters of the columns of films that these settings read.

    Args:
        settings: whose ``features`` name the sources.
        max_clusters: no cluster is split once there are so many.
        n_films: how many public films.
        progress: called with what is being done, how much is done, and of how much.

    Raises:
        SettingsError: ``no-film-columns``: no source of columns of films.
        RunError: an encoder's file is not at hand.
    """
    columns = [column.name for each in settings.features.layout.film.values() for column in each]
    if not columns:
        raise SettingsError(
            "no-film-columns",
            "features.sources must name encoders or radiomics, whose columns are clustered",
            hint="add features=three_encoders, or a list of sources of your own",
        )
    files = {hash_file(path): path for path in encoder_files(settings)}
    films, _ = draw_films(n_films, seed=SEED, progress=progress)
    measured = measure_films(
        films[:, 0].numpy().astype(np.float32) / 255.0, settings, files.__getitem__
    )
    return clusters_of(measured.astype(np.float64), columns, max_clusters=max_clusters)


def clusters_of(
    measured: Floats, names: Sequence[str], *, max_clusters: int
) -> tuple[PublicColumn, ...]:
    """Columns [n,f] by cluster, each cluster's representative first."""
    correlation = np.asarray(np.corrcoef(measured, rowvar=False), dtype=np.float64)
    clusters = cluster_columns(correlation, max_clusters=max_clusters)
    squared = explained(correlation, clusters)
    found = [
        PublicColumn(
            column=names[place],
            cluster=number,
            explained=round(min(float(squared[place, number - 1]), 1.0), _DIGITS),
        )
        for number, members in enumerate(clusters, start=1)
        for place in members
    ]
    return tuple(sorted(found, key=lambda each: (each.cluster, -each.explained)))


def write_learner(
    out: Path, clusters: Sequence[PublicColumn], *, then: str = "mlp", n_films: int = N_FILMS
) -> int:
    """Write a learner's option that keeps one column of each cluster; how many it keeps."""
    n_kept = max(each.cluster for each in clusters)
    option = {
        "kind": "selection",
        "among": "films",
        "by": {
            "kind": "varclus",
            "shares": [{"up_to_epsilon": 50, "share": 0.0}],
            "clusters": n_kept,
            "public": [each.model_dump() for each in clusters],
        },
        "keep": n_kept,
        "then": load_yaml(PROJECT / "configs" / "learner" / f"{then}.yaml"),
    }
    text = yaml.safe_dump(option, sort_keys=False, default_flow_style=None, width=110)
    write_atomic(out, (_HEAD.format(then=then, n_films=n_films, seed=SEED) + text).encode())
    return n_kept
