"""A plan says what its tables will show, by declared sizes, before anybody pays."""

from __future__ import annotations

from practice_plan import plan_of

from server.federation.compose import compose_settings
from server.report.expected import FIGURE_COLUMNS, expected_of, expected_patients, figure_rows
from shared.contract.plan import Plan
from shared.measure.table.expected import expect
from shared.measure.table.spec import sensitivity, table_spec


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


def test_exact_tables_show_what_they_have_however_wide() -> None:
    plan = plan_for("validation.release_class=governed")
    [row] = [row for row in figure_rows(plan) if row[:2] == ("external", "hop")]
    assert "too noisy" not in row
    internal = plan.tables[0]
    assert expected_of(plan, internal, plan.asked(internal)).half_widths["auc"] is not None
