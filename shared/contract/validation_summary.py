"""What validations said of a release, kept beside it: figures of hospitals together, none by its name.

A row is pooled over sites, as the report has it. Where a release was measured at one external hospital
alone, the row is of that one and says so (``n_sites`` 1): nothing is pooled in it. Written when a
report is, signed by the coordinator, and read where the release is used. Imports the release.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from shared.contract.release import HASH, read_signed, write_signed
from shared.errors import WeightsError
from shared.signing.keys import SigningKey
from shared.strict import FROZEN

SUMMARY_FILE = "validation.json"


class SummaryFigure(BaseModel):
    """A figure with its 95 % interval.

    Attributes:
        value: the figure.
        low: of the interval; null without one.
        high: of the interval.
    """

    model_config = FROZEN

    value: float
    low: float | None = None
    high: float | None = None

    def in_words(self) -> str:
        """For example ``0.84 (0.79 to 0.88)``."""
        if self.low is None or self.high is None:
            return f"{self.value:.2f}"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


class SummaryRow(BaseModel):
    """One kind of validation: its price to a patient, and the figures that are shown.

    Attributes:
        kind: of validation.
        n_sites: pooled; 1: of one hospital alone.
        release_class: ``dp`` or ``governed``.
        epsilon: that it cost each patient; null where it is governed.
        figures: by name.
    """

    model_config = FROZEN

    kind: Literal["internal", "external", "prospective"]
    n_sites: int = Field(ge=1)
    release_class: Literal["dp", "governed"]
    epsilon: float | None = None
    figures: dict[str, SummaryFigure]

    @property
    def where(self) -> str:
        """Of how many hospitals, for example ``3 sites``."""
        return "1 site, not pooled" if self.n_sites == 1 else f"{self.n_sites} sites"


class ValidationSummary(BaseModel):
    """What is known of one release, by kind of validation; of ``run``'s hospitals.

    Attributes:
        version: of this file's format.
        release_sha256: hash of the release.
        run: whose hospitals were asked.
        rows: one for each kind of validation.
    """

    model_config = FROZEN

    version: Literal[1] = 1
    release_sha256: str = HASH
    run: str
    rows: tuple[SummaryRow, ...] = ()

    def facts(self) -> dict[str, object]:
        """The rows in words."""
        return {
            f"{row.kind}, {row.where}": ", ".join(
                f"{name} {figure.in_words()}" for name, figure in row.figures.items()
            )
            for row in self.rows
        }


def write_summary(folder: Path, summary: ValidationSummary, key: SigningKey) -> None:
    """Write a release's summary into its folder; an earlier one is replaced."""
    write_signed(folder / SUMMARY_FILE, summary, key)


def read_summary(
    folder: Path, release_sha256: str, *, coordinator_key: str
) -> ValidationSummary | None:
    """The summary in a release's folder; None where nothing was validated yet.

    Raises:
        WeightsError: damaged, not signed by the coordinator, or of another release.
    """
    path = folder / SUMMARY_FILE
    if not path.exists():
        return None
    summary = read_signed(path, ValidationSummary, coordinator_key)
    if summary.release_sha256 != release_sha256:
        raise WeightsError(
            "mixed-release",
            f"{path.name} is the summary of another release",
            hint="copy the whole release folder again",
        )
    return summary
