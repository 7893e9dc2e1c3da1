"""Are noise, clip norm and sampling of a run what its plan says? Read from the audit register.

A coordinate whose canary stayed out holds noise and nothing else; one whose canary took part holds what
clip and sampler made of a patient. Each claim has one statistic z, and |z| > 6 refutes it.

Deviation, mean, repeats, contribution and sampling: z is one sum over all draws, scaled to mean 0 and
variance 1. It is close to standard normal when the claim is true, which is then refuted in about two of
10⁹ cases. Reused and shared noise: z is the largest of many scaled inner products, one for each pair of
steps, and a largest one is not standard normal. A true claim is refuted at most as often as one pair
exceeds 6, times the number of pairs; and products of noises have heavier tails than a normal, so that
one pair exceeds 6 in less than 6 of 10⁸ cases over 500 coordinates, 3 of 10⁶ over 100, 9 of 10⁵ over 10
(Chernoff bounds). For 100 steps, 4950 pairs, over 500 coordinates that is less than 3 of 10⁴ true
claims. Noise used twice has z near √(coordinates); draws are compared place by place, where both
show at least 200 of them.

Imports the plan's stage, the register and findings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from shared.audit.canary.records import audited_stage
from shared.audit.finding import Finding
from shared.contract.plan import Plan
from shared.contract.stages import GradientStage
from shared.privacy.ledger_format import LedgerRow
from shared.privacy.register_format import RegisterRecord

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

COMPLETE = "The register holds every step that was charged."
REFUTED_FROM = 6.0
# With fewer draws a tenth of the noise could be missing unseen.
_LEAST_DRAWS = 2000
# Of products of two draws: a draw that repeats another has z 20.
_LEAST_PAIRS = 400
# Places that two draws must have in common to be compared: fewer have too heavy tails.
_LEAST_COMMON = 200
_BLIND_TO = (
    "What happens before the clip (a wrong gradient, one patient counted as two), and a dishonest site "
    "that treats canaries better than patients or writes its own register."
)


def conformance_findings(
    record: RegisterRecord, plan: Plan, rows: Sequence[LedgerRow]
) -> list[Finding]:
    """Every claim about one site's noised sums.

    Args:
        record: of the site.
        plan: the run's.
        rows: of the site's verified ledger.
    """
    stage = audited_stage(plan)
    findings = [_judge_completeness(record, stage, rows)]
    claims = (
        (
            f"Noise has the promised standard deviation, {stage.noise_multiplier} clip norms.",
            _spread,
        ),
        ("Noise is centred at zero, and who stayed out adds nothing.", _mean),
        ("No step's noise was used before.", _reuse),
        ("Within a step no draw of noise repeats its neighbour or the half before.", _repeats),
        (
            f"A patient moves a sum by the clip norm, in a share {stage.sample_rate:g} of steps.",
            _contribution,
        ),
        (_sampling_claim(stage), _independence),
    )
    n_draws = record.sums.shape[0] * int(min(record.coins.sum(), (~record.coins).sum()))
    for claim, statistic in claims:
        if n_draws < _LEAST_DRAWS or not np.isfinite(record.sums).all():
            findings.append(_unusable(record.site, claim, n_draws))
        else:
            z, figures = statistic(record, stage)
            n_pairs = int(figures.get("pairs_of_draws", _LEAST_PAIRS))
            findings.append(
                _judge(record.site, claim, z, figures)
                if n_pairs >= _LEAST_PAIRS
                else _unusable(record.site, claim, n_pairs, least=_LEAST_PAIRS)
            )
    return findings


def shared_noise_findings(records: Sequence[RegisterRecord]) -> list[Finding]:
    """Whether two sites added the same noise; nothing for fewer than two records."""
    claim = "No two sites share noise."
    findings = []
    for first, second in itertools.combinations(records, 2):
        pair = f"{first.site}, {second.site}"
        n_draws = 0
        if first.length == second.length and first.sums.size and second.sums.size:
            (left, of_left), (right, of_right) = _laid(first), _laid(second)
            common = (of_left @ of_right.T).toarray()
            n_draws = int(min(common.max(axis=0).sum(), common.max(axis=1).sum()))
        if n_draws < _LEAST_DRAWS:
            findings.append(_unusable(pair, claim, n_draws))
            continue
        nowhere = np.zeros((left.shape[0], right.shape[0]), dtype=bool)
        z = _most_alike(left, of_left, right, of_right, is_itself=nowhere)
        findings.append(_judge(pair, claim, z, {"draws": n_draws}))
    return findings


def _spread(record: RegisterRecord, stage: GradientStage) -> tuple[float, dict[str, float]]:
    """χ² of the noise against the promised variance."""
    noise = _noise(record, stage)
    z = (float((noise**2).sum()) - noise.size) / math.sqrt(2 * noise.size)
    found = float(np.sqrt((noise**2).mean())) * stage.noise_multiplier
    return z, {"noise_multiplier_found": found, "draws": noise.size}


def _mean(record: RegisterRecord, stage: GradientStage) -> tuple[float, dict[str, float]]:
    noise = _noise(record, stage)
    return float(noise.sum()) / math.sqrt(noise.size), {"mean_in_sd": float(noise.mean())}


def _reuse(record: RegisterRecord, _: GradientStage) -> tuple[float, dict[str, float]]:
    """Largest correlation of two steps, at the places that both drew."""
    draws, is_drawn = _laid(record)
    n_steps = draws.shape[0]
    z = _most_alike(draws, is_drawn, draws, is_drawn, is_itself=np.eye(n_steps, dtype=bool))
    return z, {"z_two_steps": z, "pairs": n_steps * (n_steps - 1) // 2}


def _repeats(record: RegisterRecord, _: GradientStage) -> tuple[float, dict[str, float]]:
    """Correlation of draws that follow each other, and of those half a draw of noise apart.

    Both of a pair are of the register and without a canary; where they lie is secret until the end, so
    that nothing could be spared there.
    """
    draws, is_drawn = (each.tocsc() for each in _laid(record))
    found, fewest = {}, draws.shape[0] * draws.shape[1]
    for name, apart in (("neighbours", 1), ("halves", (record.length + 1) // 2)):
        n_pairs = int(is_drawn[:, :-apart].multiply(is_drawn[:, apart:]).sum())
        product = float(draws[:, :-apart].multiply(draws[:, apart:]).sum())
        found[f"z_{name}"] = product / math.sqrt(max(n_pairs, 1))
        fewest = min(fewest, n_pairs)
    return max(found.values(), key=abs), found | {"pairs_of_draws": fewest}


def _laid(record: RegisterRecord) -> tuple[csr_matrix, csr_matrix]:
    """What the register shows of each step's draw of noise [steps, length], and where it shows it."""
    noise = _standard(record.sums[:, ~record.coins])
    steps = np.repeat(np.arange(len(noise)), noise.shape[1])
    at = (steps, record.places[:, ~record.coins].ravel())
    shape = (len(noise), record.length)
    return csr_matrix((noise.ravel(), at), shape), csr_matrix((np.ones(noise.size), at), shape)


def _most_alike(
    first: csr_matrix,
    of_first: csr_matrix,
    second: csr_matrix,
    of_second: csr_matrix,
    *,
    is_itself: Bools,
) -> float:
    """Largest |z| of two draws [steps, length] that show enough of the same places."""
    common = (of_first @ of_second.T).toarray()
    product = (first @ second.T).toarray()
    is_compared = (common >= _LEAST_COMMON) & ~is_itself
    return float(np.abs(product[is_compared] / np.sqrt(common[is_compared])).max(initial=0.0))


def _contribution(record: RegisterRecord, stage: GradientStage) -> tuple[float, dict[str, float]]:
    """Mean of what canaries that took part wrote into a step, in clip norms; promised: the rate."""
    written = -record.sums[:, record.coins] / stage.clip_norm
    rate = stage.sample_rate
    mean = float(written.mean())
    z = (mean - rate) / math.sqrt(_entry_variance(stage) / written.size)
    return z, {"contribution_promised": rate, "contribution_found": mean}


def _independence(record: RegisterRecord, stage: GradientStage) -> tuple[float, dict[str, float]]:
    """Variance of what one canary wrote into as many steps as a pass over all patients would take.

    Shuffled batches draw everybody exactly once per pass and lack the part that taking part by chance
    adds; batches of equal size within a step lack it too. A pass begins with its round.
    """
    width = max(1, round(1 / stage.sample_rate))
    written = -record.sums[:, record.coins] / stage.clip_norm
    steps_of_rounds = [written[record.rounds == number] for number in np.unique(record.rounds)]
    if max(map(len, steps_of_rounds)) < width:
        width = 1
    windows = np.concatenate([_passes(steps, width) for steps in steps_of_rounds])
    promised = width * _entry_variance(stage)
    squares = (windows - width * stage.sample_rate) ** 2 / promised
    z = (float(squares.sum()) - windows.size) / math.sqrt(2 * windows.size)
    return z, {
        "variance_promised": promised,
        "variance_found": float(squares.mean()) * promised,
        "steps_per_pass": width,
        "passes": windows.size,
    }


def _passes(steps: Floats, width: int) -> Floats:
    """Sums over each ``width`` steps [t, m] of one round, those left over at the end left out."""
    n_windows = len(steps) // width
    windows: Floats = steps[: n_windows * width].reshape(n_windows, width, -1).sum(axis=1)
    return windows


def _entry_variance(stage: GradientStage) -> float:
    """Of what a canary that takes part writes into one step, in squared clip norms."""
    rate, noise = stage.sample_rate, stage.noise_multiplier
    return rate * (1 - rate) + noise**2


def _noise(record: RegisterRecord, stage: GradientStage) -> Floats:
    """Noise of every step on coordinates without a canary, in promised standard deviations."""
    promised = stage.clip_norm * stage.noise_multiplier
    noise: Floats = record.sums[:, ~record.coins] / promised
    return noise


def _standard(sums: Floats) -> Floats:
    """In their own standard deviation, so that too little noise is not mistaken for used noise."""
    deviation = float(sums.std())
    scaled: Floats = sums / deviation if deviation > 0 else sums
    return scaled


def _sampling_claim(stage: GradientStage) -> str:
    if stage.sample_rate == 1:
        return "Everybody takes part in every step."
    return "Everybody takes part by chance, independently of others and of other steps (Poisson)."


def _judge_completeness(
    record: RegisterRecord, stage: GradientStage, rows: Sequence[LedgerRow]
) -> Finding:
    wanted = ("charge", stage.name, record.plan_sha256)
    charged = {row.round for row in rows if (row.kind, row.stage, row.plan_sha256) == wanted}
    expected = np.repeat(sorted(charged), stage.local_steps)
    is_whole = np.array_equal(record.rounds, expected)
    return Finding(
        method="conformance",
        site=record.site,
        claim=COMPLETE,
        verdict="pass" if is_whole else "fail",
        because=f"{len(record.rounds)} steps are recorded and {len(expected)} were charged"
        + ("" if is_whole or len(record.rounds) != len(expected) else ", of other rounds"),
        figures={"steps_recorded": len(record.rounds), "steps_charged": len(expected)},
        blind_to="A round that was charged and never left has no sums and looks like a hidden one.",
    )


def _judge(site: str, claim: str, z: float, figures: dict[str, float]) -> Finding:
    is_refuted = not abs(z) <= REFUTED_FROM
    relation = "beyond" if is_refuted else "within"
    return Finding(
        method="conformance",
        site=site,
        claim=claim,
        verdict="fail" if is_refuted else "pass",
        because=f"z = {z:.2f}, {relation} ±{REFUTED_FROM:g}",
        figures={"z": z, **figures},
        blind_to=_BLIND_TO,
    )


def _unusable(site: str, claim: str, n_draws: int, *, least: int = _LEAST_DRAWS) -> Finding:
    return Finding(
        method="conformance",
        site=site,
        claim=claim,
        verdict="not-run",
        because=f"{n_draws} finite draws are too few; it takes {least}",
        figures={"draws": n_draws},
        blind_to=_BLIND_TO,
    )
