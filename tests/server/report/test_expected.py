"""A plan says what its tables will show, by declared sizes, before anybody pays."""

from __future__ import annotations

import numpy as np
import pytest
from practice_plan import plan_of

from server.federation.compose import compose_settings
from server.report.expected import (
    FIGURE_COLUMNS,
    expected_of,
    expected_patients,
    expected_tables,
    figure_rows,
    further_columns,
    further_rows,
)
from server.report.governed import read_statistics
from shared.contract.plan import Plan
from shared.measure.governed.called import statistics_of
from shared.measure.governed.disclosure import withhold
from shared.measure.governed.statistics import statistics_spec
from shared.measure.table.expected import expect, half_width, likely_patients
from shared.measure.table.spec import sensitivity, table_spec
from shared.measures.figures import shown_of
from shared.stages.measure import measure_of
from shared.sums.estimate import FIGURES


def plan_for(*overrides: str) -> Plan:
    settings = compose_settings(["fusion=linear", *overrides])
    return plan_of(settings, {"elm": 100, "fir": 3000}, external="hop")


def test_a_small_site_is_told_that_noise_leaves_nothing_and_a_large_one_sees_its_figures() -> None:
    plan = plan_for("validation.epsilon=3")
    rows = {(row[0], row[1]): dict(zip(FIGURE_COLUMNS, row, strict=True)) for row in figure_rows(plan)}
    assert {row[0] for row in rows} == {stage.name for stage in plan.tables}
    small, large = rows["internal", "elm"], rows["internal", "fir"]
    assert (small["patients"], large["patients"]) == ("20", "600")
    assert small["AUC ±"] in ("too noisy", "too few")
    assert 0.0 < float(large["AUC ±"]) < 0.15
    pooled = rows["internal", "all sites, pooled"]
    assert pooled["patients"] == "620"
    assert float(pooled["MAE ±"]) >= float(large["MAE ±"])


def test_whom_a_stage_asks_follows_from_the_declared_size() -> None:
    plan = plan_for()
    by_name = {stage.name: stage for stage in plan.tables}
    elm, hop = plan.entry("elm"), plan.entry("hop")
    assert expected_patients(plan, by_name["internal"], elm) == 20.0
    assert expected_patients(plan, by_name["external"], hop) == 100.0
    late = by_name["prospective"]
    assert expected_patients(plan, late, elm) == late.minimum_patients


def test_noise_of_pooled_sites_is_that_of_their_sum_and_more_sites_say_more() -> None:
    plan = plan_for("validation.epsilon=3")
    stage = next(stage for stage in plan.tables if stage.name == "internal")
    fir, spec = plan.entry("fir"), table_spec(plan.settings, stage)
    for n_sites in (1, 4):
        expected = expected_of(plan, stage, [fir] * n_sites)
        noise_sd = stage.noise_of(1) * sensitivity(spec) * n_sites**0.5
        by_hand = expect(
            spec,
            n_patients=600.0 * n_sites,
            noise_sd=noise_sd,
            minimum_cell=stage.minimum_cell,
        )
        assert expected == by_hand


def test_a_row_of_figures_has_the_digits_of_its_unit() -> None:
    plan = plan_for("validation.epsilon=3")
    rows = {(row[0], row[1]): dict(zip(FIGURE_COLUMNS, row, strict=True)) for row in figure_rows(plan)}
    large = rows["internal", "fir"]
    assert len(large["AUC ±"].partition(".")[2]) == 2
    assert len(large["MAE ±"].partition(".")[2]) == 3
    # an external site alone is not pooled with itself
    assert ("external", "all sites, pooled") not in rows
    assert ("external", "hop") in rows


EXACT = "validation.release_class=governed"


def test_exact_figures_are_foreseen_as_the_rules_of_disclosure_would_leave_them() -> None:
    plan = plan_for(EXACT)
    rows = {(row[0], row[1]): dict(zip(FIGURE_COLUMNS, row, strict=True)) for row in figure_rows(plan)}
    small, large, outside = rows["internal", "elm"], rows["internal", "fir"], rows["external", "hop"]
    assert small["AUC ±"] == "too few", "of twenty patients fewer than ten have the endpoint"
    assert float(small["MAE ±"]) > float(large["MAE ±"])
    assert 0.0 < float(large["AUC ±"]) < float(outside["AUC ±"]) < 0.2
    assert float(large["sensitivity ±"]) > 0
    assert outside["sensitivity ±"] == "too few", "fewer than ten of its ill are called, or are not"
    assert rows["internal", "all sites, pooled"]["AUC ±"] == "too few", "two hospitals have no mean"
    assert all("too noisy" not in row.values() for row in rows.values())


def test_an_exact_interval_is_foreseen_as_wide_as_it_is_read() -> None:
    plan = plan_for(EXACT)
    stage, fir = plan.tables[0], plan.entry("fir")
    statistics, table = statistics_spec(plan.settings, stage), table_spec(plan.settings, stage)
    outputs, label, weight = likely_patients(table)
    drawn = np.random.default_rng(7).choice(label.size, 600, p=weight)
    exact = statistics_of(statistics, table.rule, outputs=outputs[drawn], label=label[drawn])
    shown = withhold(exact, statistics, minimum_cell=stage.minimum_cell)
    read = read_statistics(shown, statistics, sensitivity_target=0.0)
    foreseen = expected_of(plan, stage, [fir])
    assert foreseen.shown == {name for name in FIGURES if getattr(read, name).value is not None}
    for name in foreseen.shown:
        assert foreseen.half_widths[name] == pytest.approx(half_width(getattr(read, name)), rel=0.2), (
            name
        )


def further_of(plan: Plan) -> dict[tuple[str, str], dict[str, str]]:
    """Cells by site of each figure of a stage."""
    head = further_columns(plan)
    return {(row[0], row[1]): dict(zip(head[2:], row[2:], strict=True)) for row in further_rows(plan)}


MEASURES = ("measure=[errors,subgroups,comparison]", "validation.epsilon=3")


def test_every_figure_of_every_stage_is_foreseen_at_every_site_that_is_asked() -> None:
    plan = plan_for(*MEASURES)
    found = further_of(plan)
    assert {stage for stage, _ in found} == {stage.name for stage in (*plan.tables, *plan.measures)}
    for stage in plan.measures:
        names = set(measure_of(plan.settings, stage).expect(100, sd=1.0, minimum_cell=10))
        assert {figure for name, figure in found if name == stage.name} == names
        sites = {site.site for site in plan.asked(stage)}
        for name in names:
            cells = found[stage.name, name]
            assert {site for site in ("elm", "fir", "hop") if cells[site] != "–"} == sites
    small, large = (found["subgroups_internal", "AUC, sex female"][site] for site in ("elm", "fir"))
    assert small in ("too few", "too noisy")
    assert 0.0 < float(large) < 0.2
    together = found["subgroups_internal", "AUC, sex female"]["all sites, pooled"]
    assert together == "too noisy", "elm brings twenty patients more, and as much noise again"
    assert found["errors_external", "within 0.1"]["all sites, pooled"] == "–", "one hospital alone"
    assert found["comparison_internal", "n, compared"]["fir"].isdigit()


def test_what_a_plan_foresees_of_a_measure_is_what_its_report_will_show() -> None:
    plan = plan_for(*MEASURES)
    found = further_of(plan)
    for stage in plan.measures:
        measure = measure_of(plan.settings, stage)
        for site in plan.asked(stage):
            n, sd = expected_patients(plan, stage, site), stage.noise_of(1) * measure.norm
            options = {"sd": sd, "minimum_cell": stage.minimum_cell}
            expected = measure.expect(n, **options)
            read = measure.read(np.full(measure.n_cells, 1e4), n_expected=n, **options)
            for figure, estimate in read.items():
                cell = found[stage.name, figure][site.site]
                is_number = cell.replace(".", "").isdigit()
                assert is_number == (estimate.value is not None), (stage.name, figure, site.site)
                assert is_number == (figure in shown_of(expected))


def test_a_figure_that_would_be_hidden_says_whether_noise_or_patients_lack() -> None:
    noised = further_of(plan_for("validation.epsilon=3"))
    assert noised["internal", "NPV, osteoporosis"]["elm"] == "too noisy"


def test_what_exact_answers_hold_beside_the_main_figures_is_foreseen_where_it_leaves() -> None:
    found = further_of(plan_for(EXACT, "measure=[errors,subgroups]"))
    slope, normal = found["internal", "calibration slope"], found["internal", "sensitivity, normal"]
    assert slope == {"elm": "shown", "fir": "shown", "hop": "–", "all sites, pooled": "–"}
    assert normal["elm"] == "too few"
    assert float(normal["fir"]) > 0
    assert set(found["subgroups_internal", "AUC, sex female"].values()) == {"too few", "–"}
    errors = found["errors_internal", "within 0.1"]
    assert errors["elm"] == errors["all sites, pooled"] == "too few", "one hospital's alone leave"
    assert float(errors["fir"]) > 0


def test_an_exact_measure_is_foreseen_where_every_cell_of_it_holds_enough() -> None:
    settings = compose_settings(["fusion=linear", EXACT, "measure=subgroups"])
    plan = plan_of(settings, {"elm": 100, "fir": 60_000})
    found = further_of(plan)["subgroups_internal", "AUC, sex female"]
    assert found["elm"] == "too few"
    assert 0.0 < float(found["fir"]) < 0.05


def test_people_read_each_further_figure_once_and_what_nobody_will_see_apart() -> None:
    plan = plan_for(*MEASURES)
    _, (_, columns, seen), (_, _, unseen) = expected_tables(plan)
    assert columns == further_columns(plan)
    named = [(stage, name) for stage, names in unseen for name in names.split("; ")]
    assert sorted([*((row[0], row[1]) for row in seen), *named]) == sorted(further_of(plan))
    for stage, name in named:
        assert set(further_of(plan)[stage, name].values()) <= {"too noisy", "too few", "–"}
    assert all(any(cell.replace(".", "").isdigit() for cell in row[2:]) for row in seen)
