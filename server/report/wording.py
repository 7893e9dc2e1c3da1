"""How a figure is written: the same words in the page, the terminal and the pictures.

``suppressed``, ``too noisy`` and ``NA`` are words of their own and never a number.
Imports results only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from server.report.results import (
    POOLED,
    DescriptionResult,
    FurtherResult,
    PrivacyResult,
    Results,
    ValidationResult,
)
from shared.privacy.accountant import NO_ACCOUNTANT
from shared.sums.estimate import Estimate

NOT_A_DEVICE = (
    "Research software, not a medical device. Nothing on this page may guide the care of a patient."
)
LIMITS = (
    "Intervals hold sampling and privacy noise, not differences between these and other hospitals.",
    "Sensitivity and specificity belong to the stated operating point; another threshold has others.",
    "A privacy guarantee bounds what the release reveals about one patient. It says nothing about "
    "the security of a hospital's own systems.",
    "Bounds, and weights where sites have any, are public constants of the plan; none was tuned on a "
    "hospital's patients.",
)
MEAN_OF_SITES = "mean of sites"
CONCORDANCE = "C-index"
KIND_MEANING = {
    "internal": "held-out patients of the hospitals that trained, same period",
    "external": "a hospital that never took part in training",
    "prospective": "patients who came after the model was locked, unseen in training",
}
FIGURE_WORD = {
    "not-applicable": "NA",
    "suppressed": "suppressed",
    "too-noisy": "too noisy",
    "not-assessed": "not assessed",
}
STATUS_WORD = {
    "not-applicable": "NA",
    "waiting": "before the day of its lock",
    "missing": "no valid reply",
}


def write_value(estimate: Estimate | None, *, digits: int = 2) -> str:
    """The point estimate, or ``suppressed``, ``too noisy`` or ``NA``."""
    if estimate is None:
        return FIGURE_WORD["not-applicable"]
    if estimate.value is None:
        return FIGURE_WORD[estimate.status]
    return _number(estimate.value, digits)


def write_interval(estimate: Estimate | None, *, digits: int = 2) -> str:
    """``low to high``, or nothing when there is no interval or the figure is exact."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    if estimate.low == estimate.high:
        return ""
    return f"{_number(estimate.low, digits)} to {_number(estimate.high, digits)}"


def write_figure(estimate: Estimate | None, *, digits: int = 2) -> str:
    """Value and interval on one line."""
    interval = write_interval(estimate, digits=digits)
    value = write_value(estimate, digits=digits)
    return f"{value} ({interval})" if interval else value


def digits_of(name: str) -> int:
    """Digits of a further measure's figure: a count of patients has none."""
    return 0 if name.startswith("n, ") else 2


def as_percent(estimate: Estimate) -> Estimate:
    """A share of 1 in percent."""
    if estimate.value is None:
        return estimate
    low, high = estimate.low, estimate.high
    return Estimate(
        status="measured",
        value=100 * estimate.value,
        low=None if low is None else 100 * low,
        high=None if high is None else 100 * high,
    )


def write_stage(stage: str) -> str:
    """A stage's name as a heading."""
    words = stage.replace("_", " ")
    return f"{words[0].upper()}{words[1:]}"


def write_site(site: str) -> str:
    """A site's name, or what the pooled row is."""
    return "all sites, pooled" if site == POOLED else site


def write_status(row: ValidationResult | DescriptionResult | FurtherResult) -> str:
    """Why a row has no measures."""
    word = STATUS_WORD.get(row.status, row.status)
    return f"{word} ({row.code})" if row.code else word


def write_whose_auc(row: ValidationResult) -> str:
    """Of whom a row's AUC is: exact AUCs of several sites are not pooled, their mean is."""
    is_mean = row.is_pooled and row.release_class == "governed"
    return MEAN_OF_SITES if is_mean else write_site(row.site)


def write_row(row: ValidationResult) -> str:
    """Of whom a row of a validation is; apart, of whom its AUC is, where that is another."""
    name, auc = write_site(row.site), write_whose_auc(row)
    has_auc = row.measures is not None and row.measures.auc.value is not None
    return f"{name} (AUC: {auc})" if has_auc and auc != name else name


def write_mean_of_sites(results: Results) -> str:
    """The mean of sites in digits, of how many, with its prediction interval; "" if there is none."""
    mean = results.site_auc
    if mean is None or mean.low is None or mean.high is None:
        return ""
    # an exact AUC that is withheld is in no mean; a noised table is, whatever its row shows
    n_sites = sum(
        row.measures is not None and (row.release_class == "dp" or row.measures.auc.value is not None)
        for row in results.validation
        if row.kind == "internal" and not (row.is_pooled or row.is_offline)
    )
    text = f"{mean.value:.2f} ({mean.low:.2f} to {mean.high:.2f}), of {n_sites} sites"
    if mean.prediction_low is None or mean.prediction_high is None:
        return text
    return (
        f"{text}; expected of one further site: {mean.prediction_low:.2f} to {mean.prediction_high:.2f}"
    )


def write_price(row: ValidationResult | DescriptionResult | FurtherResult) -> str:
    """What a table cost a patient, with its release class."""
    if row.status != "measured":
        return "–"
    if row.release_class == "governed":
        return "governed: exact, not DP"
    return "dp" if row.epsilon is None else f"dp, ε = {row.epsilon:.2f}"


def write_epsilon(epsilon: float | None) -> str:
    """An ε with two digits, or a dash."""
    return "–" if epsilon is None else f"{epsilon:.2f}"


def write_delta(delta: float) -> str:
    """A δ as 1e-5."""
    digits, _, power = f"{delta:.0e}".partition("e")
    return f"{digits}e−{int(power.lstrip('-'))}"


def write_qualifiers(privacy: PrivacyResult) -> str:
    """Everything an ε needs beside it; of a run that noises nothing, which has none, less."""
    if privacy.accountant == NO_ACCOUNTANT:
        return privacy.mechanism
    return (
        f"unit {privacy.unit}, {privacy.adjacency}, δ = {write_delta(privacy.delta)}, "
        f"{privacy.mechanism}, {privacy.accountant}"
    )


def write_bytes(count: int) -> str:
    """A size in B, kB or MB (powers of 1000)."""
    for unit, size in (("MB", 1_000_000), ("kB", 1_000)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def write_time(utc: str) -> str:
    """An ISO 8601 time to the minute, in UTC."""
    moment = datetime.fromisoformat(utc).astimezone(UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def write_duration(seconds: float) -> str:
    """Seconds, minutes or hours; a dash when nobody measured it."""
    if seconds == 0:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def write_rounds(rounds: Sequence[object]) -> str:
    """How many rounds."""
    return "1 round" if len(rounds) == 1 else f"{len(rounds)} rounds"


def headline(results: Results) -> list[tuple[str, str, str]]:
    """(label, figure, detail) of the few figures a reader looks for first."""
    cards = []
    for kind in ("internal", "external", "prospective"):
        row = main_row(results, kind)
        if row is None:
            continue
        where = write_whose_auc(row)
        if row.measures is None:
            cards.append((f"{kind.capitalize()} AUC", write_status(row), where))
            continue
        cards.append((f"{kind.capitalize()} AUC", *_auc_card(row, where)))
    cards += [_concordance_card(stage, row) for stage, row in concordance_rows(results)]
    if results.training is None:
        return [*cards, _validation_card(results)]
    spent = [p.training_epsilon for p in results.privacy if p.training_epsilon is not None]
    if len(spent) < len(results.privacy) or not spent:
        cards.append(("Privacy", "none", "no formal privacy guarantee"))
    else:
        delta = max(p.delta for p in results.privacy)
        cards.append(
            (
                "Training ε",
                f"{max(spent):.2f}",
                f"per patient, largest site, δ = {write_delta(delta)}" + _beside_training(results),
            )
        )
    return cards


def _beside_training(results: Results) -> str:
    """That an ε of training is not one of patients whose exact figures were sent."""
    is_exact = any(row.release_class == "governed" for row in results.validation)
    return "; validation: exact, no formal privacy guarantee" if is_exact else ""


def _auc_card(row: ValidationResult, where: str) -> tuple[str, str]:
    """Figure and detail: of a noised release the interval first, in which noise moves the estimate."""
    auc = row.measures.auc if row.measures is not None else None
    value, interval = write_value(auc), write_interval(auc)
    if interval and row.release_class == "dp":
        return interval, f"estimate {value}, {where}"
    return value, " · ".join(part for part in (interval, where) if part)


def concordance_rows(results: Results) -> list[tuple[str, FurtherResult]]:
    """The pooled row, else the first that was measured, of each validation of a time to event."""
    found: dict[str, FurtherResult] = {}
    for row in results.further:
        if row.figures is not None and CONCORDANCE in row.figures:
            is_first = row.stage not in found or row.site == POOLED
            found |= {row.stage: row} if is_first else {}
    return list(found.items())


def _concordance_card(stage: str, row: FurtherResult) -> tuple[str, str, str]:
    figure = (row.figures or {})[CONCORDANCE]
    kind, where = stage.rpartition("_")[2].capitalize(), write_site(row.site)
    value, interval = write_value(figure), write_interval(figure)
    if interval and row.release_class == "dp":
        return (f"{kind} {CONCORDANCE}", interval, f"estimate {value}, {where}")
    detail = " · ".join(part for part in (interval, where) if part)
    return (f"{kind} {CONCORDANCE}", value, detail)


def _validation_card(results: Results) -> tuple[str, str, str]:
    """What a run that trained nothing cost its dearest patient."""
    spent = [privacy.run_epsilon for privacy in results.privacy]
    if any(epsilon is None for epsilon in spent):
        return ("Privacy", "none", "no formal privacy guarantee")
    delta = max(privacy.delta for privacy in results.privacy)
    dearest = max(epsilon or 0.0 for epsilon in spent)
    return ("Validation ε", f"{dearest:.2f}", f"per patient, dearest site, δ = {write_delta(delta)}")


def main_row(results: Results, kind: str) -> ValidationResult | None:
    """The pooled row of a kind of validation, else its first row."""
    rows = [row for row in results.validation if row.kind == kind]
    return next((row for row in rows if row.is_pooled), rows[0] if rows else None)


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    if text.lstrip("-").strip("0.") == "":
        text = text.lstrip("-")  # no minus before a zero
    return text.replace("-", "−")
