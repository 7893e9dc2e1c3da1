"""Who trains together in each design, and what a training is called."""

from __future__ import annotations

from server.experiments.populations import EIGHT_TABLES, HIP_TABLES
from server.experiments.system import leave_one_out, usual


def test_usually_all_train_together_three_ways_and_each_alone_under_the_same_epsilon() -> None:
    trainings = usual(HIP_TABLES)
    assert [(each.name, each.is_private) for each in trainings] == [
        ("federated", True),
        ("federated, no privacy", False),
        ("pooled, no privacy", False),
        ("alone: aster", True),
        ("alone: birch", True),
        ("alone: cedar", True),
    ]
    assert all(each.places == ("internal", "external", "prospective") for each in trainings)


def test_a_hospital_that_is_left_out_is_measured_and_trains_only_for_itself() -> None:
    trainings = leave_one_out(EIGHT_TABLES)
    assert len(trainings) == 4 * 8
    assert len({each.name for each in trainings}) == len(trainings)
    for each in trainings:
        [place] = each.places
        if each.mode in ("alone", "federated + local"):
            assert each.sites == (place,)
            assert each.is_private is (each.mode != "alone"), "what is handed to doctors has noise"
        else:
            assert place == each.left_out
            assert {*each.sites, place} == set(EIGHT_TABLES.training)
            assert place not in each.sites
    local = [each for each in trainings if each.base is not None]
    assert [each.base.left_out for each in local] == list(EIGHT_TABLES.training)
    # it goes on from a release that was trained before it
    assert all(trainings.index(each.base) < trainings.index(each) for each in local)
