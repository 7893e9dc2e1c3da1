"""Results as rows of a terminal: every site, every figure, and the words for what is missing."""

from __future__ import annotations

from server.report.results import FurtherResult, Results
from server.report.terminal import table_for_terminal, table_of_patients
from shared.sums.estimate import SUPPRESSED, Estimate


def test_each_row_has_its_kind_site_figures_and_price(results: Results) -> None:
    table = table_for_terminal(results)[0]
    assert len(table.rows) == len(results.validation)
    by_place = {(row[0], row[1]): row for row in table.rows}
    pooled = by_place["internal", "all sites, pooled"]
    assert pooled[-1] == "dp, ε = 3.00"
    assert pooled[2] == f"{results.validation[3].measures.n_patients.value:.0f}"
    assert by_place["prospective", "st-anna"][2] == "before the day of its lock"
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_exact_figures_of_all_sites_are_not_called_pooled_where_they_are_a_mean(
    results: Results,
) -> None:
    rows = [row.model_copy(update={"release_class": "governed"}) for row in results.validation]
    table = table_for_terminal(results.model_copy(update={"validation": tuple(rows)}))[0]
    assert ("internal", "all sites, pooled (AUC: mean of sites)") in {row[:2] for row in table.rows}


def test_a_classification_has_no_columns_of_a_regression(results: Results) -> None:
    task = results.task.model_copy(update={"kind": "classification"})
    regression, other = (
        table_for_terminal(each)[0].columns
        for each in (results, results.model_copy(update={"task": task}))
    )
    assert set(regression) - set(other) == {"R²", "MAE [g/cm2]"}


def test_privacy_is_a_row_per_site_with_all_epsilons(results: Results) -> None:
    table = table_for_terminal(results)[1]
    assert [row[0] for row in table.rows] == ["northgate", "st-anna", "lakeside"]
    assert table.rows[0][2:6] == ("4.41", "4.63", "8.00", "3.37")


def test_patients_are_shown_only_where_somebody_was_asked(
    results: Results, described_results: Results
) -> None:
    assert len(table_for_terminal(results)) == 2
    table = table_for_terminal(described_results)[2]
    assert table == table_of_patients(described_results.description)
    assert table.columns == ("", "all sites, pooled", "northgate", "lakeside")
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert table.rows[-2][:2] == ("release", "dp, ε = 1.00")
    assert table.rows[-1][:2] == ("st-anna", "no valid reply (policy.purpose-forbidden)")


def test_a_description_that_nobody_gave_says_why(described_results: Results) -> None:
    refused = [row for row in described_results.description if row.description is None]
    table = table_of_patients(refused)
    assert table.columns == ("site", "why")
    assert table.rows == (("st-anna", "no valid reply (policy.purpose-forbidden)"),)


def test_a_further_measure_is_a_table_of_its_figures_by_site(results: Results) -> None:
    def row(site: str, **values: object) -> FurtherResult:
        plain = {"stage": "errors_internal", "site": site, "release_class": "dp"}
        return FurtherResult.model_validate(plain | values)

    figures = {
        "n, ill": Estimate(status="measured", value=30.0),
        "within 0.5": Estimate(status="measured", value=0.8, low=0.75, high=0.85),
    }
    rows = (
        row("a", status="measured", epsilon=1.0, figures=figures),
        row("b", status="missing", code="policy.no"),
        row("pooled", status="measured", epsilon=1.0, figures={"within 0.5": figures["within 0.5"],
                                                              "n, ill": SUPPRESSED}),
    )  # fmt: skip
    [table] = [
        each
        for each in table_for_terminal(results.model_copy(update={"further": rows}))
        if each.title == "errors_internal"
    ]
    assert table.columns == ("", "a", "b", "all sites, pooled")
    assert table.rows == (
        ("n, ill", "30", "–", "suppressed"),
        ("within 0.5", "0.80 (0.75 to 0.85)", "–", "0.80 (0.75 to 0.85)"),
        ("release", "dp, ε = 1.00", "no valid reply (policy.no)", "dp, ε = 1.00"),
    )


def test_a_row_without_measures_is_as_long_as_its_table(results: Results) -> None:
    task = results.task.model_copy(update={"kind": "classification"})
    for each in (results, results.model_copy(update={"task": task})):
        table = table_for_terminal(each)[0]
        lengths = {len(row) for row in table.rows}
        assert lengths == {len(table.columns)}
