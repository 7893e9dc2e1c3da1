"""Time to event: whether who comes first was ranked first, and whether as many come as were foretold.

One-hot over class of the label × bin of the risk by the horizon, each patient in one cell, and the risk
itself in another: no pair of patients meets at a site. From the sum the C-index (Harrell's; where a
competing event came the event never does, so that such a patient ranks below every event), the risk
that came true (Kaplan–Meier; Aalen–Johansen beside a competing event) and the mean of those foretold.
Two patients of one bin are ranked alike (½), two events of one interval are not compared, and who is
censored is compared with the events of the intervals that were survived. Imports the contract of
measures and figures.

Source: Harrell et al. 1982 (JAMA 247:2543); Wolbers et al. 2009 (Epidemiology 20:555) for a competing
event; Aalen & Johansen 1978 (Scand J Stat 5:141).

Legend: n patients · k intervals · r causes · q classes · b bins · m cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from shared.errors import PolicyError, SettingsError
from shared.exam.time_to_event import TimeToEventLabel
from shared.measures.counts import support_of
from shared.measures.figures import (
    PREVALENCE,
    bell_pair,
    bounded,
    spread_of,
    why_either_is_lacking,
    why_lacking,
    worth_showing,
)
from shared.measures.incidence import incidence
from shared.measures.scored import MeasureTask, Rule, Scored
from shared.strict import FROZEN
from shared.sums.contract import Floats
from shared.sums.estimate import Estimate
from shared.sums.intervals import normal_quantile

# Weight of the risk's cell beside the one-hot: the mean risk of 500 patients at ε = 3 is then known to
# a hundredth, and every other cell has an eighth more noise.
_RISK_WEIGHT = 0.5
# Of expected patients: half of those without an event are followed to the horizon, and a tenth of all
# have a competing event.
_FOLLOWED, _COMPETING = 0.5, 0.1


class SurvivalSettings(BaseModel):
    """Settings of the figures of a time to event.

    Attributes:
        bins: of the risk by the horizon.
        bin_logits: width of a bin in log odds; the middle ones lie about the label's public risk.
    """

    model_config = FROZEN

    kind: Literal["survival"]
    bins: int = Field(default=6, ge=4, le=16)
    bin_logits: float = Field(default=1.0, gt=0, le=5)


@dataclass(frozen=True)
class Survival:
    """Cells [q·b + 1]: a class's bins by rising risk, class by class, and last the sum of risks."""

    rule: Rule
    label: TimeToEventLabel
    settings: SurvivalSettings

    @classmethod
    def build(cls, settings: SurvivalSettings, task: MeasureTask) -> Survival:
        """The measure of a plan.

        Raises:
            SettingsError: no time to event is predicted.
        """
        if task.follow_up is None:
            raise SettingsError(
                "needs-follow-up",
                f"measure survival needs a time to event, not the classes {list(task.rule.classes)}",
                hint="choose a cohort whose label is of kind time_to_event, and task=survival",
            )
        return cls(task.rule, task.follow_up, settings)

    @property
    def n_cells(self) -> int:
        """q·b + 1."""
        return len(self.label.classes) * self.settings.bins + 1

    @property
    def norm(self) -> float:
        """A patient is in one cell, and has one risk, of 1 at most."""
        return math.hypot(1.0, _RISK_WEIGHT)

    @property
    def edges(self) -> Floats:
        """Between bins of the risk [b − 1]."""
        steps = np.arange(self.settings.bins - 1) - (self.settings.bins - 2) / 2
        start = math.log(self.label.reference_risk / (1 - self.label.reference_risk))
        edges: Floats = 1.0 / (1.0 + np.exp(-start - self.settings.bin_logits * steps))
        return edges

    def rows_of(self, patients: Scored) -> Floats:
        """Rows [n, m]; zeros without a label. A risk that is no number is the worst for its class."""
        q = len(self.label.classes)
        is_place = patients.label == np.floor(patients.label)
        known = (patients.label >= 0) & (patients.label < q) & is_place
        place = np.where(known, patients.label, 0).astype(np.intp)
        has_event = place < self.label.n_intervals
        risk = self.rule.score(patients.outputs)
        risk = np.clip(np.where(np.isfinite(risk), risk, ~has_event), 0.0, 1.0)
        cell = place * self.settings.bins + np.searchsorted(self.edges, risk, side="right")
        rows = np.zeros((len(patients), self.n_cells))
        rows[np.arange(len(patients)), cell] = 1.0
        rows[:, -1] = _RISK_WEIGHT * risk
        rows[~known] = 0.0
        return rows

    def read(
        self, total: Floats, *, sd: float, minimum_cell: int, n_expected: float
    ) -> Mapping[str, Estimate]:
        """C-index, risk that came true and risk foretold, and how each follow-up ended."""
        found = self._figures(total, sd=sd, minimum_cell=0 if sd else minimum_cell)
        if not sd:
            return found
        return worth_showing(found, self.expect(n_expected, sd=sd, minimum_cell=minimum_cell))

    def expect(self, n: float, *, sd: float, minimum_cell: int) -> Mapping[str, Estimate]:
        """The same figures of ``n`` expected patients."""
        return self._figures(self.expected(n), sd=sd, minimum_cell=minimum_cell, is_expected=True)

    def expected(self, n: float) -> Floats:
        """The exact total [m] of ``n`` patients whose events and ends spread over the intervals."""
        k, r = self.label.n_intervals, len(self.label.causes)
        competing = _COMPETING * (r - 1)
        free = 1.0 - PREVALENCE - competing
        shares = np.concatenate(
            [
                np.full(k, PREVALENCE / k),
                np.full(k * (r - 1), competing / k),
                np.full(k, (1 - _FOLLOWED) * free / k),
                [_FOLLOWED * free],
            ]
        )
        well, ill = bell_pair(self.settings.bins)
        cells = n * shares[:, None] * np.where(np.arange(len(shares))[:, None] < k, ill, well)
        return np.append(cells.ravel(), _RISK_WEIGHT * PREVALENCE * n)

    def suppress(self, total: Floats, minimum_cell: int) -> Floats:
        """Bins joined to the next higher one, then a way of ending to its next interval, until full.

        What is left over at the end goes to the last cell that is.

        Raises:
            PolicyError: a way of ending has too few patients in all.
        """
        joined = total.copy()
        k, b, q = self.label.n_intervals, self.settings.bins, len(self.label.classes)
        cells = joined[:-1].reshape(q, b)
        ends = [slice(c * k, (c + 1) * k) for c in range(len(self.label.causes))]
        for of_end in (*ends, slice(ends[-1].stop, q)):
            block = cells[of_end]
            for interval, here in enumerate(block):
                for place in range(b):
                    if not 0 < here[place] < minimum_cell:
                        continue
                    if place + 1 < b:
                        here[place + 1] += here[place]
                    elif interval + 1 < len(block):
                        block[interval + 1, place] += here[place]
                    else:
                        block[_last_full(block, minimum_cell)] += here[place]
                    here[place] = 0.0
        return joined

    def _figures(
        self, total: Floats, *, sd: float, minimum_cell: int, is_expected: bool = False
    ) -> dict[str, Estimate]:
        k, b, q = self.label.n_intervals, self.settings.bins, len(self.label.classes)
        cells = total[:-1].reshape(q, b)
        ends = self._ends(cells.sum(axis=1))
        margin_sd = sd * math.sqrt(k * b)
        found = support_of(tuple(ends), np.array(list(ends.values())), margin_sd, minimum_cell)
        events, n = float(cells[:k].sum()), float(cells.sum())
        noise = sd**2 * k * b, sd**2 * (q - k) * b
        lacking = why_either_is_lacking(
            (events, n - events), noise, minimum_cell, is_expected=is_expected
        ) or why_lacking(n, minimum_cell, noise_variance=sum(noise), is_expected=is_expected)
        names = ("C-index", "observed risk", "expected risk", "observed − expected risk")
        if lacking:
            return found | dict.fromkeys(names, lacking)
        z = normal_quantile(0.95)
        could_be_noise = events < z * math.sqrt(noise[0])

        def margin_of(figure: Callable[[Floats], float], counts: Floats, noise: float) -> float:
            return 2.0 if could_be_noise else z * math.sqrt(spread_of(figure, counts, noise))

        margins = cells.sum(axis=1)
        came = self.risk_that_came(margins)
        margin = margin_of(self.risk_that_came, margins, sd**2 * b)
        foretold = min(max(float(total[-1]) / (_RISK_WEIGHT * n), 0.0), 1.0)
        noised = ((sd / _RISK_WEIGHT) ** 2 + foretold**2 * sum(noise)) / n**2
        # no risk within [0, 1] of this mean varies more
        sampled = foretold * (1.0 - foretold) / n
        return found | {
            "C-index": bounded(self.concordance(cells), margin_of(self.concordance, cells, sd**2)),
            "observed risk": bounded(came, margin),
            "expected risk": bounded(foretold, z * math.sqrt(noised + sampled)),
            "observed − expected risk": bounded(
                came - foretold, math.hypot(margin, z * math.sqrt(noised)), least=-1.0
            ),
        }

    def _ends(self, margins: Floats) -> dict[str, float]:
        """How many patients' follow-up ended in which way [q] -> by name."""
        k, causes = self.label.n_intervals, self.label.causes
        ends = {cause: float(margins[c * k : (c + 1) * k].sum()) for c, cause in enumerate(causes)}
        horizon = f"{self.label.horizon:g} {self.label.unit}"
        ends[f"left before {horizon}"] = float(margins[len(causes) * k : -1].sum())
        return ends | {f"free for {horizon}": float(margins[-1])}

    def concordance(self, cells: Floats) -> float:
        """C of counts [q,b]: of an event and who was free then or later, which has the higher risk."""
        k, r = self.label.n_intervals, len(self.label.causes)
        events, free = cells[:k], cells[r * k :]  # [k,b], [k+1,b]
        never = cells[k : r * k].sum(axis=0)  # [b]
        wins = pairs = 0.0
        for interval in range(k):
            others = events[interval + 1 :].sum(axis=0) + free[interval + 1 :].sum(axis=0) + never
            wins += float(events[interval] @ (np.cumsum(others) - others / 2))
            pairs += float(events[interval].sum() * others.sum())
        return wins / pairs if pairs > 0 else 0.5

    def risk_that_came(self, margins: Floats) -> float:
        """Cumulative incidence of the event by the horizon, of counts by class [q]."""
        return float(incidence(margins[None], self.label)[0, 0, -1])


def _last_full(block: Floats, minimum_cell: int) -> tuple[int, int]:
    """Place of the last cell with enough patients.

    Raises:
        PolicyError: there is none.
    """
    full = np.argwhere(block >= minimum_cell)
    if not len(full):
        raise PolicyError(
            "cell-too-small",
            f"a way in which follow-up ended has fewer than {minimum_cell} patients",
            hint="ask for noised tables (validation.release_class=dp), or measure more patients",
        )
    interval, place = full[-1]
    return int(interval), int(place)
