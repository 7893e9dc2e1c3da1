"""How figures are written: words for what is missing, never a number; minus signs, units, prices."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.report.results import PrivacyResult, Results, ValidationResult
from server.report.wording import (
    as_percent,
    digits_of,
    headline,
    main_row,
    write_bytes,
    write_delta,
    write_duration,
    write_epsilon,
    write_figure,
    write_interval,
    write_mean_of_sites,
    write_price,
    write_qualifiers,
    write_row,
    write_site,
    write_status,
    write_time,
    write_value,
)
from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, TOO_NOISY, Estimate


def measured(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(status="measured", value=value, low=low, high=high)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (None, "NA"),
        (NOT_APPLICABLE, "NA"),
        (SUPPRESSED, "suppressed"),
        (measured(0.0), "0.00"),
        (measured(-0.004), "0.00"),
        (measured(-0.006), "−0.01"),
        (measured(1.0), "1.00"),
    ],
)
def test_a_value_or_the_word_for_none(estimate: Estimate | None, text: str) -> None:
    assert write_value(estimate) == text


def test_an_interval_is_written_unless_it_is_a_point_or_missing() -> None:
    assert write_interval(measured(0.5, -0.1, 0.75)) == "−0.10 to 0.75"
    assert write_interval(measured(300, 300, 300)) == ""
    assert write_interval(measured(0.5)) == ""
    assert write_interval(SUPPRESSED) == ""
    assert write_figure(measured(0.5, 0.4, 0.6), digits=1) == "0.5 (0.4 to 0.6)"
    assert write_figure(SUPPRESSED) == "suppressed"


def test_a_share_in_percent_keeps_its_interval_and_its_word() -> None:
    assert as_percent(measured(0.25, 0.2, 0.3)) == measured(25.0, 20.0, 30.0)
    assert as_percent(measured(0.25)) == measured(25.0)
    assert as_percent(SUPPRESSED) is SUPPRESSED
    assert as_percent(NOT_APPLICABLE) is NOT_APPLICABLE


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (1_000_000, "1.0 MB"),
        (2_560_000, "2.6 MB"),
    ],
)
def test_sizes_are_in_powers_of_1000(count: int, text: str) -> None:
    assert write_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "–"),
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (5430, "1 h 30 min"),
    ],
)
def test_durations_are_in_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert write_duration(seconds) == text


def test_epsilon_and_delta() -> None:
    assert write_epsilon(None) == "–"
    assert write_epsilon(2.999) == "3.00"
    assert write_delta(1e-5) == "1e−5"
    assert write_delta(2.5e-7) == "2e−7"


def test_times_are_utc_to_the_minute() -> None:
    assert write_time("2026-01-02T03:04:59+02:00") == "2026-01-02 01:04 UTC"


def row(status: str = "missing", **values: object) -> ValidationResult:
    plain: dict[str, object] = {"kind": "internal", "site": "a", "release_class": "dp"}
    return ValidationResult.model_validate(plain | {"status": status} | values)


def test_a_price_names_its_class_and_an_exact_table_is_not_called_private(results: Results) -> None:
    sold = next(each for each in results.validation if each.measures)
    assert write_price(row()) == "–"
    assert write_price(sold.model_copy(update={"epsilon": 1.5})) == "dp, ε = 1.50"
    assert write_price(sold.model_copy(update={"epsilon": None})) == "dp"
    governed = sold.model_copy(update={"release_class": "governed", "epsilon": None})
    assert write_price(governed) == "governed: exact, not DP"


def test_a_row_without_measures_says_why_with_its_code() -> None:
    assert write_status(row(code="policy.no")) == "no valid reply (policy.no)"
    assert write_status(row("not-applicable")) == "NA"
    assert write_status(row("waiting")) == "before the day of its lock"
    assert write_site("pooled") == "all sites, pooled"
    assert write_site("north") == "north"


def test_a_count_of_patients_has_no_digits() -> None:
    assert (digits_of("n, osteoporosis"), digits_of("AUC, osteoporosis")) == (0, 2)


def promise(epsilon: float | None, mode: str = "patient_dp", delta: float = 1e-5) -> PrivacyResult:
    return PrivacyResult(
        site="a",
        mode=mode,
        mechanism="Gaussian",
        accountant="exact Gaussian",
        delta=delta,
        training_epsilon=epsilon,
    )


def test_an_epsilon_comes_with_unit_adjacency_delta_mechanism_and_accountant() -> None:
    assert write_qualifiers(promise(1.0)) == (
        "unit patient, add/remove, δ = 1e−5, Gaussian, exact Gaussian"
    )


def test_a_promise_in_words_names_no_epsilon_of_who_did_not_train() -> None:
    assert promise(2.999).statement == "ε = 3.00 per patient for training"
    assert promise(0.0).statement == "no part in training"
    assert promise(None, "off").statement == "no formal privacy guarantee"
    for epsilon, mode in ((None, "patient_dp"), (1.0, "off")):
        with pytest.raises(ValueError, match="training_epsilon must be given"):
            promise(epsilon, mode)


def card(results: Results, *promises: PrivacyResult) -> tuple[str, str, str]:
    return headline(results.model_copy(update={"privacy": promises}))[-1]


def test_the_headline_shows_the_largest_epsilon_and_none_where_any_site_lacks_one(
    results: Results,
) -> None:
    assert card(results, promise(1.0), promise(3.0, delta=1e-4)) == (
        "Training ε",
        "3.00",
        "per patient, largest site, δ = 1e−4",
    )
    for promises in ((promise(1.0), promise(None, "off")), ()):
        assert card(results, *promises)[:2] == ("Privacy", "none")


def exact_of(results: Results) -> Results:
    """The same figures as of a governed release."""
    rows = [
        each.model_copy(update={"release_class": "governed", "epsilon": None})
        for each in results.validation
    ]
    return results.model_copy(update={"validation": tuple(rows)})


def test_the_headline_of_exact_figures_keeps_the_epsilon_of_training_and_names_their_mean(
    results: Results,
) -> None:
    label, figure, detail = card(exact_of(results), promise(3.0), promise(0.0))
    assert (label, figure) == ("Training ε", "3.00")
    assert detail.endswith("; validation: exact, no formal privacy guarantee")
    assert headline(exact_of(results))[0][2].endswith("· mean of sites")
    assert headline(results)[0][2].endswith("all sites, pooled")


def test_a_pooled_row_of_exact_figures_says_that_its_auc_is_a_mean_of_sites(results: Results) -> None:
    exact = main_row(exact_of(results), "internal")
    hidden = exact.model_copy(update={"measures": replace(exact.measures, auc=SUPPRESSED)})
    assert write_row(exact) == "all sites, pooled (AUC: mean of sites)"
    assert write_row(hidden) == "all sites, pooled", "there is no mean to name"
    assert write_row(main_row(results, "internal")) == "all sites, pooled"
    assert write_row(exact_of(results).validation[0]) == results.validation[0].site


def test_the_mean_of_sites_is_written_with_its_number_of_sites_and_prediction_interval(
    results: Results,
) -> None:
    mean = results.site_auc
    assert write_mean_of_sites(results) == (
        f"{mean.value:.2f} ({mean.low:.2f} to {mean.high:.2f}), of 3 sites; expected of one further "
        f"site: {mean.prediction_low:.2f} to {mean.prediction_high:.2f}"
    )
    first = results.validation[0]
    silent = first.model_copy(
        update={
            "release_class": "governed",
            "measures": replace(first.measures, auc=SUPPRESSED),
        }
    )
    one_less = results.model_copy(update={"validation": (silent, *results.validation[1:])})
    assert ", of 2 sites; " in write_mean_of_sites(one_less)
    assert write_mean_of_sites(results.model_copy(update={"site_auc": None})) == ""


def test_the_headline_of_a_kind_is_its_pooled_row_else_its_first(results: Results) -> None:
    assert main_row(results, "internal").site == "pooled"
    assert main_row(results, "external").site == "harbour"
    bare = results.model_copy(update={"validation": ()})
    assert main_row(bare, "internal") is None
    assert [label for label, *_ in headline(results)] == [
        *("Internal AUC", "External AUC", "Prospective AUC", "Training ε")
    ]
    silent = results.model_copy(update={"validation": (row(code="policy.no"),)})
    assert headline(silent)[0] == ("Internal AUC", "no valid reply (policy.no)", "a")


def test_of_a_noised_release_the_card_shows_the_interval_and_of_an_exact_one_the_estimate(
    results: Results,
) -> None:
    noised = main_row(results, "internal")
    auc = Estimate(status="measured", value=1.0, low=0.82, high=1.0)
    noised = noised.model_copy(update={"measures": replace(noised.measures, auc=auc)})
    exact = noised.model_copy(update={"release_class": "governed", "epsilon": None})
    of_nobody = replace(noised.measures, auc=TOO_NOISY)
    hidden = noised.model_copy(update={"measures": of_nobody})
    cards = [
        headline(results.model_copy(update={"validation": (each,)}))[0][1:]
        for each in (noised, exact, hidden)
    ]
    assert cards == [
        ("0.82 to 1.00", "estimate 1.00, all sites, pooled"),
        ("1.00", "0.82 to 1.00 · mean of sites"),
        ("too noisy", "all sites, pooled"),
    ]
