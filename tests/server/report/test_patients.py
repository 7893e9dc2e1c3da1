"""The first table of a report: rows by hand, columns in one order, words where there is no figure."""

from __future__ import annotations

from server.report.patients import Cell, characteristics, clipping, described, digits_of
from server.report.results import DescriptionResult
from shared.measure.description.reading import CategoryReading, Description, NumberReading
from shared.sums.estimate import NOT_APPLICABLE, SUPPRESSED, Estimate


def measured(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(status="measured", value=value, low=low, high=high)


def number(name: str, low: float, high: float, **changes: object) -> NumberReading:
    plain: dict[str, object] = {
        "unit": "years",
        "mean": measured(70.04),
        "sd": measured(9.0),
        "missing": NOT_APPLICABLE,
    }
    return NumberReading(name=name, low=low, high=high, **plain | changes)


def description(target: NumberReading | None = None, **changes: object) -> Description:
    plain: dict[str, object] = {
        "endpoint": "osteoporosis",
        "n_patients": measured(1200, 1190, 1210),
        "n_positive": measured(300, 290, 310),
        "prevalence": measured(0.25, 0.22, 0.28),
        "target": target,
        "numbers": (number("age_at_exam", 40, 95),),
        "categories": (
            CategoryReading(
                name="sex",
                shares={"female": measured(0.8), "male": SUPPRESSED},
                missing=measured(0.01),
            ),
        ),
        "second_moments": None,
    }
    return Description(**plain | changes)


def row(site: str, found: Description | None) -> DescriptionResult:
    status = "measured" if found else "missing"
    return DescriptionResult(site=site, status=status, release_class="dp", description=found)


def test_rows_by_hand() -> None:
    table = {each.name: each.cells[0] for each in characteristics([row("north", description())])}
    assert table == {
        "Patients": Cell(text="1200", small="1190 to 1210"),
        "With osteoporosis": Cell(text="300", small="290 to 310"),
        "With osteoporosis, %": Cell(text="25.0", small="22.0 to 28.0"),
        "age at exam, years: mean": Cell(text="70.0"),
        "age at exam, years: SD": Cell(text="9.0"),
        "sex: female, %": Cell(text="80.0"),
        "sex: male, %": Cell(text="suppressed"),
        "sex: missing, %": Cell(text="1.0"),
    }
    assert table["sex: male, %"].is_word
    assert not table["sex: female, %"].is_word


def test_all_pooled_come_first_and_who_refused_has_no_column() -> None:
    rows = [row("north", description()), row("south", None), row("pooled", description())]
    assert [each.site for each in described(rows)] == ["pooled", "north"]
    assert {len(each.cells) for each in characteristics(rows)} == {2}
    assert characteristics([row("south", None)]) == ()
    assert clipping([row("south", None)]) == ""


def test_a_target_is_described_and_bounds_are_named() -> None:
    target = number("femoral_neck_bmd", 0.35, 1.0, unit="g/cm2")
    rows = [row("north", description(target))]
    names = [each.name for each in characteristics(rows)]
    assert names[3:5] == ["femoral neck bmd, g/cm2: mean", "femoral neck bmd, g/cm2: SD"]
    assert clipping(rows) == "femoral neck bmd 0.35 to 1, age at exam 40 to 95"
    assert clipping([row("north", description())]) == "age at exam 40 to 95"


def test_a_missing_row_is_shown_once_any_site_may_lack_the_value() -> None:
    lacking = description(numbers=(number("age", 40, 95, missing=SUPPRESSED),))
    names = [each.name for each in characteristics([row("a", lacking)])]
    assert "age: missing, %" in names


def test_about_three_digits_of_a_range_are_shown() -> None:
    widths = {0.65: 3, 1.0: 2, 9.9: 2, 10.0: 1, 55.0: 1, 100.0: 0, 5000.0: 0}
    assert {width: digits_of(number("x", 0.0, width)) for width in widths} == widths
