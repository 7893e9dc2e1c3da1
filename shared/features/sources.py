"""Which features a learner of tables reads: named sources in order, and the table of those of a film.

A source that is measured on a film without the run's encoder gives one block of columns per film: the
same settings give the same block, which a hospital computes once and keeps. A new one is a settings
class, a file with its block, and a line in ``_BLOCKS``. Imports columns and the blocks.

Legend: n films · h w pixels · f columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from shared.features import radiomics_block as block
from shared.features.columns import Column, Floats, Layout
from shared.features.radiomics.region import Mask
from shared.strict import FROZEN


class ImageSource(BaseModel):
    """The mean token of the run's encoder; nothing where fusion is clinical_only."""

    model_config = FROZEN

    kind: Literal["image"] = "image"


class ClinicalSource(BaseModel):
    """The cohort's clinical fields, numbers in public SDs and categories one-hot."""

    model_config = FROZEN

    kind: Literal["clinical"] = "clinical"


class RadiomicsSource(BaseModel):
    """First order, shape and texture of each film.

    Attributes:
        components: how many public components of the features, 0: the features themselves.
        sha256: SHA-256 of the public constants that are installed with OsteoFed.
    """

    model_config = FROZEN

    kind: Literal["radiomics"] = "radiomics"
    components: int = Field(default=16, ge=0, le=block.MOST_COMPONENTS)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


FeatureSource = Annotated[ImageSource | RadiomicsSource | ClinicalSource, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True)
class FilmBlock:
    """Columns of a film: ``measure`` takes [h,w] in [0, 1] and a mask [h,w] or None, and gives [f]."""

    columns: tuple[Column, ...]
    measure: Callable[[NDArray[np.floating], Mask | None], Floats]


def _radiomics(source: RadiomicsSource) -> FilmBlock:
    constants = block.read_constants(source.sha256)
    n = source.components
    return FilmBlock(
        columns=block.block_columns(constants, components=n),
        measure=lambda film, mask: block.measure_block(film, constants, components=n, mask=mask),
    )


# Each takes its own settings, by which the discriminator has chosen.
_BLOCKS: Mapping[str, Callable[..., FilmBlock]] = {"radiomics": _radiomics}


class FeatureSettings(BaseModel):
    """What a learner of tables reads of a patient.

    Attributes:
        sources: in the order of their columns, each at most once.
    """

    model_config = FROZEN

    sources: tuple[FeatureSource, ...] = Field(default=(ImageSource(), ClinicalSource()), min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> FeatureSettings:
        kinds = [source.kind for source in self.sources]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"sources must differ in kind, not {kinds}")
        return self

    @property
    def of_films(self) -> tuple[FeatureSource, ...]:
        """The sources that are measured on films without the run's encoder, in order."""
        return tuple(source for source in self.sources if source.kind in _BLOCKS)

    @cached_property
    def layout(self) -> Layout:
        """Order of the sources, and the columns of those of films.

        Raises:
            WeightsError: public constants that are not those installed here.
        """
        film = {source.kind: film_block(source).columns for source in self.of_films}
        return Layout(order=tuple(source.kind for source in self.sources), film=film)


def film_block(source: FeatureSource) -> FilmBlock:
    """The block of a source in ``FeatureSettings.of_films``.

    Raises:
        WeightsError: public constants that are not those installed here.
    """
    return _BLOCKS[source.kind](source)


def measure_films(
    films: NDArray[np.floating],
    sources: Sequence[FeatureSource],
    masks: Sequence[Mask | None] | None = None,
) -> NDArray[np.float32]:
    """Columns of films by the sources in order, each film by itself: [n,h,w] -> [n,f].

    Args:
        films: prepared, in [0, 1].
        sources: of ``FeatureSettings.of_films``.
        masks: of each film [h,w] or None: the whole; None: all whole.
    """
    blocks = [film_block(source) for source in sources]
    width = sum(len(each.columns) for each in blocks)
    measured = np.zeros((len(films), width), dtype=np.float32)
    if not blocks:
        return measured
    for row, film in enumerate(films):
        pixels = np.asarray(film, dtype=np.float64)
        mask = None if masks is None else masks[row]
        measured[row] = np.concatenate([each.measure(pixels, mask) for each in blocks])
    return measured
