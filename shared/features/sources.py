"""Which features a learner of tables reads: named sources in order, and the columns of those of films.

A source of films gives one block of columns per film: the same settings give the same block, which a
hospital computes once and keeps. Radiomics are measured here; what a frozen encoder says of a film is
measured where networks are (``shared.train.film_columns``), and its columns are known from the plan
alone. A new source is a settings class, a file with its block, and a line in ``_COLUMNS``. Imports
columns, components and the blocks.

Legend: n films · h w pixels · f columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from shared.features import radiomics_block as block
from shared.features.columns import IMAGE_NORM, Column, Layout
from shared.features.components import MOST_CELLS, MOST_COMPONENTS, film_columns
from shared.features.radiomics.region import Mask
from shared.strict import FROZEN

Components = Annotated[int, Field(ge=0, le=MOST_COMPONENTS)]
Spreads = tuple[Annotated[float, Field(gt=0, lt=100)], ...]
TokenGrid = Annotated[int, Field(ge=1, le=MOST_CELLS)]
_OTHER_KINDS = ("image", "radiomics", "clinical")


class ImageSource(BaseModel):
    """The mean token of the run's encoder, or its cells; nothing where fusion is clinical_only.

    Attributes:
        token_grid: cells along each side of a film, each with its own components; 1: the mean token.
        components: how many public components of the token or of each cell, 0: the token itself.
        spreads: usual size of each component, which composing the settings fills in from the encoder's
            file.
    """

    model_config = FROZEN

    kind: Literal["image"] = "image"
    token_grid: TokenGrid = 1
    components: Components = 0
    spreads: Spreads = ()

    @model_validator(mode="after")
    def _has_spreads(self) -> ImageSource:
        _require_spreads(self)
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        # a plan of before, when there were no components, keeps its hash
        return _without_one_cell(write(self)) if self.components else {"kind": self.kind}


class EncoderSource(BaseModel):
    """The mean token of a frozen encoder beside the run's own, or its cells; several may be named.

    Attributes:
        encoder: one of ``configs/encoder``, which fills in what is left out; in a plan its
            architecture.
        name: how its columns are called; left out: as the encoder is chosen.
        token_grid: cells along each side of a film, each with its own components; 1: the mean token.
        components: how many public components of the token or of each cell, 0: the token itself.
        weights: safetensors file beside the configuration, or an absolute path at the coordinator.
        sha256: SHA-256 of that file.
        token_channels: width of its token.
        spreads: usual size of each component, which composing the settings fills in from the file.
    """

    model_config = FROZEN

    kind: Literal["encoder"] = "encoder"
    encoder: str = Field(pattern="^[a-z][a-z0-9_]*$")
    name: str = Field(pattern="^[a-z][a-z0-9_]*$")
    token_grid: TokenGrid = 1
    components: Components = 16
    weights: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    token_channels: int = Field(ge=1)
    spreads: Spreads = ()

    @model_validator(mode="after")
    def _has_spreads(self) -> EncoderSource:
        _require_spreads(self)
        if self.name in _OTHER_KINDS:
            raise ValueError(f"name must not be one of {list(_OTHER_KINDS)}, not {self.name}")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        return _without_one_cell(write(self))


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
    components: Components = 16
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


FeatureSource = Annotated[
    ImageSource | EncoderSource | RadiomicsSource | ClinicalSource, Field(discriminator="kind")
]


def key_of(source: FeatureSource) -> str:
    """How the columns of a source are called."""
    return source.name if source.kind == "encoder" else source.kind


def _require_spreads(source: ImageSource | EncoderSource) -> None:
    if source.token_grid > 1 and not source.components:
        raise ValueError(
            f"components must be 1 to {MOST_COMPONENTS} of each cell where token_grid is "
            f"{source.token_grid}, not 0: cells have a public size by component only"
        )
    if len(source.spreads) != source.components:
        raise ValueError(
            f"spreads must be {source.components} numbers, which composing the settings fills in, "
            f"not {len(source.spreads)}"
        )


def _without_one_cell(written: dict[str, object]) -> dict[str, object]:
    """A plan of before, when there were no cells, keeps its hash."""
    is_mean = written.get("token_grid") == 1
    return {name: value for name, value in written.items() if name != "token_grid" or not is_mean}


def _of_token(source: ImageSource | EncoderSource) -> tuple[Column, ...]:
    """The columns of an encoder's token, or of components of it or its cells, at the public norm."""
    spreads: Sequence[float] = source.spreads
    if source.kind == "encoder" and not spreads:
        spreads = (IMAGE_NORM / math.sqrt(source.token_channels),) * source.token_channels
    name, side = key_of(source), range(source.token_grid)
    cells = [f"{name}.cell_{row}_{column}" for row in side for column in side]
    names = [
        f"{cell}[{place}]"
        for cell in (cells if source.token_grid > 1 else [name])
        for place in range(len(spreads))
    ]
    return film_columns(name, names, [*spreads] * source.token_grid**2)


def _of_radiomics(source: RadiomicsSource) -> tuple[Column, ...]:
    return block.block_columns(block.read_constants(source.sha256), components=source.components)


# Each takes its own settings, by which the discriminator has chosen.
_COLUMNS: Mapping[str, Callable[..., tuple[Column, ...]]] = {
    "image": _of_token,
    "encoder": _of_token,
    "radiomics": _of_radiomics,
}


class FeatureSettings(BaseModel):
    """What a learner of tables reads of a patient.

    Attributes:
        sources: in the order of their columns, each name at most once.
    """

    model_config = FROZEN

    sources: tuple[FeatureSource, ...] = Field(default=(ImageSource(), ClinicalSource()), min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> FeatureSettings:
        keys = [key_of(source) for source in self.sources]
        if len(set(keys)) < len(keys):
            raise ValueError(f"sources must differ in name, not {keys}")
        return self

    @property
    def of_films(self) -> tuple[FeatureSource, ...]:
        """The sources with columns of films beside the token that the run's encoder gives, in order."""
        return tuple(
            source
            for source in self.sources
            if source.kind in _COLUMNS and (source.kind != "image" or source.components)
        )

    @property
    def reads_token(self) -> bool:
        """Whether a source is the run's encoder's token as it is."""
        return any(source.kind == "image" and not source.components for source in self.sources)

    @property
    def cell_grid(self) -> int:
        """Cells along each side of a film where all columns of films are cells' of one grid; else 0."""
        grids = {getattr(source, "token_grid", 1) for source in self.of_films}
        grid = grids.pop() if len(grids) == 1 else 1
        return grid if grid > 1 else 0

    @property
    def cells(self) -> tuple[int, ...]:
        """The cell, rows first, of each column of films [f]; none where there is no ``cell_grid``."""
        return tuple(
            cell
            for source in self.of_films
            for cell in range(self.cell_grid**2)
            for _ in range(getattr(source, "components", 0))
        )

    @cached_property
    def layout(self) -> Layout:
        """Order of the sources, and the columns of those of films.

        Raises:
            WeightsError: public constants that are not those installed here.
        """
        film = {key_of(source): columns_of(source) for source in self.of_films}
        return Layout(order=tuple(key_of(source) for source in self.sources), film=film)


def columns_of(source: FeatureSource) -> tuple[Column, ...]:
    """The columns of a source in ``FeatureSettings.of_films``.

    Raises:
        WeightsError: public constants that are not those installed here.
    """
    return _COLUMNS[source.kind](source)


def measure_radiomics(
    films: NDArray[np.floating],
    masks: Sequence[Mask | None] | None = None,
    *,
    source: RadiomicsSource,
) -> NDArray[np.float32]:
    """Radiomics of films, each by itself: [n,h,w] -> [n,f].

    Args:
        films: prepared, in [0, 1].
        masks: of each film [h,w] or None: the whole; None: all whole.
        source: whose constants and components.

    Raises:
        WeightsError: public constants that are not those installed here.
    """
    constants = block.read_constants(source.sha256)
    measured = np.zeros((len(films), len(columns_of(source))), dtype=np.float32)
    for row, film in enumerate(films):
        pixels = np.asarray(film, dtype=np.float64)
        mask = None if masks is None else masks[row]
        measured[row] = block.measure_block(pixels, constants, components=source.components, mask=mask)
    return measured
