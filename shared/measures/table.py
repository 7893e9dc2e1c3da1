"""The measures, by name: the one place that a new one is added to. Imports every measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.measures.errors import Errors, ErrorsSettings
from shared.measures.scored import Measure

# Each with its own settings; a second one makes this a union, told apart by ``kind``.
MeasureSettings = ErrorsSettings
_BUILDERS: Mapping[str, Callable[[Any], Measure]] = {
    "errors": Errors.build,
}
MEASURES = tuple(sorted(_BUILDERS))


def build_measure(settings: MeasureSettings) -> Measure:
    """The measure of a plan's stage."""
    return _BUILDERS[settings.kind](settings)
