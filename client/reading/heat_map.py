"""Films of one exam beside where the model looked, and which fields it attended to, as one PNG
that stays at the site, readable by its owner only.

Imports matplotlib (through this package, its one door), files and numpy.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.machine.files import write_atomic

Image = NDArray[np.float32]


def write_heat_maps(
    path: Path,
    films: Sequence[Image],
    heat_maps: Sequence[Image | None],
    *,
    caption: str,
    title: str,
    unit: str,
    field_attention: Mapping[str, float],
) -> None:
    """Write one row per view: the film, and the film under its heat map; below, attention to fields.

    Args:
        path: PNG file to write.
        films: normalised films [h, w] in [0, 1].
        heat_maps: a map of each [h, w], in ``unit``, on one scale; None where none may be drawn.
        caption: the reading in words.
        title: what a map shows.
        unit: unit of the map.
        field_attention: share of the films' attention by clinical field; empty: nothing is drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_rows = len(films) + bool(field_attention)
    figure = Figure(figsize=(7.2, 3.5 * n_rows + 0.9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(n_rows, 2, squeeze=False)
    drawn = [heat for heat in heat_maps if heat is not None]
    top = max((float(np.abs(heat).max()) for heat in drawn), default=1.0) or 1.0
    is_signed = any((heat < 0).any() for heat in drawn)
    low, colours = (-top, "coolwarm") if is_signed else (0.0, "inferno")
    for (plain, covered), film, heat in zip(grid[: len(films)], films, heat_maps, strict=True):
        plain.imshow(film, cmap="gray", vmin=0, vmax=1)
        plain.set_title("film as the model sees it", fontsize=9)
        covered.imshow(film, cmap="gray", vmin=0, vmax=1)
        covered.set_title(title if heat is not None else "no map: not reliable", fontsize=9)
        if heat is not None:
            shown = covered.imshow(heat, cmap=colours, alpha=0.55, vmin=low, vmax=top)
            figure.colorbar(shown, ax=covered, fraction=0.046, label=unit)
        for axes in (plain, covered):
            axes.set_axis_off()
    if field_attention:
        bars, beside = grid[-1]
        bars.barh(list(field_attention), list(field_attention.values()))
        bars.invert_yaxis()
        bars.set_title("share of the films' attention by field", fontsize=9)
        beside.set_axis_off()
    figure.suptitle(caption + "\nresearch use only: not a medical device", fontsize=10)
    drawing = io.BytesIO()
    figure.savefig(drawing)  # PNG
    write_atomic(path, drawing.getvalue(), mode=0o600)
