"""Governed figures, attacked: whoever knows the rules solves for every table that would look the same.

The solver enumerates all confusion tables of n patients, lets each through the rules, and puts those
that look the same, AUC included, into one class. What no other table looks like is known. A cell whose
value lies between 1 and the minimum in all tables of a class is a breach: a value, or an interval.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ProtocolError
from shared.measure.governed.disclosure import counts_behind, withhold
from shared.measure.governed.statistics import StatisticsSpec, measure_statistics

SPEC = StatisticsSpec(is_regression=False)
NAMES = tuple(SPEC.figures)
AUC = NAMES.index("auc")
Shown = tuple[float | None, ...]
Withhold = Callable[..., np.ndarray]
# A class of patients by decision: positives called by cuts 1 and 2, by 2 alone, by neither; negatives.
Table = tuple[int, ...]


def vector(n_positive: int, n_negative: int, hits: int, rejected: int) -> np.ndarray:
    """Exact figures of a table; those that are no counts have some value."""
    named = dict.fromkeys(NAMES, 0.5) | {"n": n_positive + n_negative, "n_positive": n_positive}
    named["sensitivity"] = hits / n_positive if n_positive else math.nan
    named["specificity"] = rejected / n_negative if n_negative else math.nan
    return np.array([named[name] for name in NAMES])


def key(shown: np.ndarray) -> Shown:
    return tuple(None if math.isnan(value) else value for value in shown.tolist())


def tables(n: int, cells: int) -> Iterator[Table]:
    """Every way to divide n patients into so many cells."""
    for bars in itertools.combinations(range(n + cells - 1), cells - 1):
        ends = (-1, *bars, n + cells - 1)
        yield tuple(b - a - 1 for a, b in itertools.pairwise(ends))


def double_wins(positives: Table, negatives: Table) -> tuple[int, int]:
    """Least and most of 2·AUC·pairs, of classes divided from the most suspected down; all between."""
    least = 2 * sum(
        count * sum(negatives[place + 1 :]) for place, count in enumerate(positives)
    )  # those between are beaten
    within = 2 * sum(a * b for a, b in zip(positives, negatives, strict=True))
    return least, least + within


def breaches(n: int, minimum: int, *, cuts: int, rule: Withhold = withhold) -> set[str]:
    """Names of the cells that somebody who knows n's rules can pin down to 1..minimum − 1."""

    @cache
    def shown(first: tuple[int, ...], second: tuple[int, ...] | None) -> tuple[Shown, ...]:
        one = rule(vector(*first), SPEC, minimum_cell=minimum)
        if second is None:
            return (key(one),)
        return key(one), key(rule(vector(*second), SPEC, minimum_cell=minimum, earlier=[one]))

    alike = defaultdict(list)
    for table in tables(n, 2 * (cuts + 1)):
        positives, negatives = table[: cuts + 1], table[cuts + 1 :]
        sizes = sum(positives), sum(negatives)
        asked = [
            (*sizes, sum(positives[:cut]), sizes[1] - sum(negatives[:cut]))
            for cut in range(1, cuts + 1)
        ]
        alike[shown(asked[0], asked[1] if cuts > 1 else None)].append((positives, negatives))
    found = set()
    for looks, group in alike.items():
        cells = {"n_positive": [sum(p) for p, _ in group], "n_negative": [sum(q) for _, q in group]}
        for low, high in itertools.combinations(range(cuts + 2), 2):
            if high - low <= cuts:  # neighbouring cells are a cell as well
                cells[f"positives {low}:{high}"] = [sum(p[low:high]) for p, _ in group]
                cells[f"negatives {low}:{high}"] = [sum(q[low:high]) for _, q in group]
        values = np.array(list(cells.values()))  # [cells, tables]
        wins = np.array([double_wins(p, q) for p, q in group])  # [tables, 2]
        has_auc = any(each[AUC] is not None for each in looks)
        # An AUC leaves those tables that can have it; between two bounds nothing changes.
        subsets = [np.ones(len(group), dtype=bool)]
        if has_auc:
            subsets = [(wins[:, 0] <= k) & (k <= wins[:, 1]) for k in np.unique(wins)]
            subsets += [(wins[:, 0] <= k) & (k <= wins[:, 1]) for k in np.unique(wins) + 1]
        for subset in subsets:
            if not subset.any():
                continue
            left = values[:, subset]
            pinned = (left.min(axis=1) >= 1) & (left.max(axis=1) < minimum)
            found |= {name for name, is_pinned in zip(cells, pinned, strict=True) if is_pinned}
    return found


@pytest.mark.parametrize(("n", "minimum"), [(3, 3), (12, 3), (20, 5), (21, 10), (30, 5), (40, 10)])
def test_no_cell_can_be_solved_for_from_one_release(n: int, minimum: int) -> None:
    assert breaches(n, minimum, cuts=1) == set()


@pytest.mark.parametrize(("n", "minimum"), [(9, 2), (12, 2), (13, 3)])
def test_no_cell_can_be_solved_for_from_two_releases_at_other_cuts(n: int, minimum: int) -> None:
    assert breaches(n, minimum, cuts=2) == set()


@settings(max_examples=15, deadline=None)
@given(n=st.integers(2, 22), minimum=st.integers(2, 11))
def test_no_cell_of_any_number_of_patients_can_be_solved_for(n: int, minimum: int) -> None:
    assert breaches(n, minimum, cuts=1) == set()


def primary_alone(exact: np.ndarray, spec: StatisticsSpec, **asked: object) -> np.ndarray:
    """Only the share whose own cell is small is withheld: no complementary suppression."""
    minimum = int(str(asked["minimum_cell"]))
    shown = exact.copy()
    named = dict(zip(NAMES, exact, strict=True))
    sizes = {"sensitivity": named["n_positive"], "specificity": named["n"] - named["n_positive"]}
    for name, size in sizes.items():
        hits = named[name] * size
        if min(hits, size - hits) < minimum:
            shown[NAMES.index(name)] = math.nan
    if named["n_positive"] < minimum:
        shown[NAMES.index("n_positive")] = math.nan
    return shown


def zeros_shown(exact: np.ndarray, spec: StatisticsSpec, **asked: object) -> np.ndarray:
    """A share with an empty cell is shown: then a withheld one says that its cell is not empty."""
    shown = withhold(exact, spec, minimum_cell=int(str(asked["minimum_cell"])))
    for name in ("sensitivity", "specificity"):
        place = NAMES.index(name)
        if not math.isnan(shown[AUC]) and exact[place] in (0.0, 1.0):
            shown[place] = exact[place]
    return shown


def each_by_itself(exact: np.ndarray, spec: StatisticsSpec, **asked: object) -> np.ndarray:
    """No memory: the difference of two releases is nobody's business."""
    return withhold(exact, spec, minimum_cell=int(str(asked["minimum_cell"])))


def test_the_solver_breaks_rules_without_complementary_suppression() -> None:
    assert {"n_positive", "n_negative"} & breaches(20, 5, cuts=1, rule=primary_alone)


def test_the_solver_breaks_rules_that_show_empty_cells() -> None:
    assert "positives 1:2" in breaches(20, 5, cuts=1, rule=zeros_shown)


def test_the_solver_breaks_rules_that_forget_an_earlier_cut() -> None:
    assert "positives 1:2" in breaches(9, 2, cuts=2, rule=each_by_itself)


THREE = StatisticsSpec(is_regression=False, others=("middle", "mild"))
N_ILL, HITS = 40, 20  # of the endpoint's own class, which the others' figures do not touch


def of_three(table: Table) -> np.ndarray:
    """Exact figures; a table is middle called severe, middle, mild, then mild called the same."""
    middle, mild = table[:3], table[3:]
    sizes = {"middle": sum(middle), "mild": sum(mild)}
    right = {"middle": middle[1], "mild": mild[2]}
    n_negative = sum(table)
    plain = vector(N_ILL, n_negative, HITS, n_negative - middle[0] - mild[0])
    shares = [right[name] / size if size else math.nan for name, size in sizes.items()]
    return np.array([*plain, *sizes.values(), *shares])


def breaches_of_three(n_negative: int, minimum: int, *, rule: Withhold = withhold) -> set[str]:
    """As ``breaches``, of every group of cells of those who lack the endpoint.

    An AUC says nothing of how these are divided once it is known how many are called.
    """
    alike = defaultdict(list)
    for table in tables(n_negative, 6):
        alike[key(rule(of_three(table), THREE, minimum_cell=minimum))].append(table)
    found = set()
    groups = [np.array(bits, dtype=bool) for bits in itertools.product((0, 1), repeat=6) if any(bits)]
    for group in alike.values():
        cells = np.array(group)  # [tables, 6]
        for members in groups:
            left = cells[:, members].sum(axis=1)
            if left.min() >= 1 and left.max() < minimum:
                found.add("".join(str(int(each)) for each in members))
    return found


@pytest.mark.parametrize(("n_negative", "minimum"), [(8, 2), (11, 2), (12, 3), (16, 3)])
def test_no_cell_of_other_classes_can_be_solved_for(n_negative: int, minimum: int) -> None:
    assert breaches_of_three(n_negative, minimum) == set()


def by_their_own_cells(exact: np.ndarray, spec: StatisticsSpec, **asked: object) -> np.ndarray:
    """Each class by its own cells: who is confused among the others follows from the rest."""
    minimum = int(str(asked["minimum_cell"]))
    shown, found = withhold(exact, spec, minimum_cell=minimum), spec.named(exact)
    if math.isnan(shown[NAMES.index("specificity")]):
        return shown
    for place, name in enumerate(spec.others):
        size, share = found[f"n, {name}"], found[f"sensitivity, {name}"]
        if size and min(share * size, size - share * size) >= minimum - 1e-9:
            for at, value in ((len(NAMES) + place, size), (len(NAMES) + 2 + place, share)):
                shown[at] = round(value, 3)
    return shown


def test_the_solver_breaks_rules_that_show_each_class_by_its_own_cells() -> None:
    found = breaches_of_three(12, 3, rule=by_their_own_cells)
    assert "001010" in found, "middle called mild, and mild called middle"
    assert {"000111", "111000"} & found, "the size of a class whose figures are withheld"


def test_other_classes_are_shown_all_or_none() -> None:
    table = (20, 60, 15, 12, 14, 40)
    shown = THREE.named(withhold(of_three(table), THREE, minimum_cell=10))
    assert (shown["n, middle"], shown["n, mild"]) == (95, 66)
    assert (shown["sensitivity, middle"], shown["sensitivity, mild"]) == (0.632, 0.606)
    for other in (
        (20, 60, 15, 12, 14, 9),  # few of the mild called rightly
        (20, 60, 15, 30, 0, 0),  # none
        (20, 60, 4, 12, 5, 40),  # nine confused among themselves
        (35, 60, 0, 26, 0, 40),  # none are
        (5, 60, 15, 4, 14, 40),  # few called to have the endpoint
    ):
        hidden = THREE.named(withhold(of_three(other), THREE, minimum_cell=10))
        assert all(math.isnan(hidden[name]) for name in THREE.figures if ", " in name), other


def test_other_classes_are_shown_once() -> None:
    first, second = of_three((20, 60, 15, 12, 14, 40)), of_three((40, 40, 15, 12, 14, 40))
    before = withhold(first, THREE, minimum_cell=10)
    shown = THREE.named(withhold(second, THREE, minimum_cell=10, earlier=[before]))
    assert not math.isnan(shown["specificity"])
    assert math.isnan(shown["sensitivity, middle"])


def named(shown: np.ndarray) -> dict[str, float]:
    return {name: value for name, value in SPEC.named(shown).items() if not math.isnan(value)}


def test_a_small_class_takes_all_that_depends_on_the_classes_with_it() -> None:
    shown = named(withhold(vector(9, 91, 9, 50), SPEC, minimum_cell=10))
    assert shown == {"n": 100}
    assert named(withhold(vector(91, 9, 50, 9), SPEC, minimum_cell=10)) == {"n": 100}
    assert named(withhold(vector(5, 4, 3, 2), SPEC, minimum_cell=10)) == {}


@pytest.mark.parametrize("missed", [0, 1, 9, 41, 49, 50])
def test_a_share_with_few_or_no_patients_on_one_side_is_withheld_alone(missed: int) -> None:
    shown = named(withhold(vector(50, 50, 50 - missed, 30), SPEC, minimum_cell=10))
    assert set(shown) == set(NAMES) - {"sensitivity"}
    assert shown["specificity"] == 0.6


def test_figures_are_rounded_to_public_digits() -> None:
    shown = named(withhold(vector(300, 300, 100, 200), SPEC, minimum_cell=10))
    assert (shown["sensitivity"], shown["specificity"]) == (0.333, 0.667)
    regression = StatisticsSpec(is_regression=True, unit_range=0.65)
    draw = np.random.default_rng(1)
    target = draw.normal(0.7, 0.1, 200)
    prediction = target + draw.normal(0, 0.05, 200)
    exact = measure_statistics(
        regression,
        suspicion=-prediction,
        is_positive=target <= 0.6,
        is_called=prediction <= 0.6,
        target=target,
        prediction=prediction,
    )
    rounded = regression.named(withhold(exact, regression, minimum_cell=10))
    assert rounded["mae"] == round(rounded["mae"], 5)
    assert rounded["mae"] == pytest.approx(regression.named(exact)["mae"], abs=5e-6)


def test_a_share_counts_with_every_number_that_an_earlier_one_was_rounded_from() -> None:
    assert counts_behind(0.333, 300, digits=3) == (100,)
    assert counts_behind(0.333, 3000, digits=3) == (998, 999, 1000)
    assert counts_behind(1.0, 40, digits=3) == (40,)
    first = withhold(vector(3000, 3000, 1000, 2000), SPEC, minimum_cell=10)
    for hits, is_shown in ((1010, True), (1009, False), (1000, False), (988, True), (989, False)):
        second = withhold(vector(3000, 3000, hits, 1000), SPEC, minimum_cell=10, earlier=[first])
        assert ("sensitivity" in named(second)) == is_shown, hits


def test_nothing_is_shown_of_other_patients_of_a_split_of_whom_figures_were_shown() -> None:
    first = withhold(vector(50, 50, 30, 30), SPEC, minimum_cell=10)
    for sizes in ((51, 50), (49, 51)):
        second = withhold(vector(*sizes, 30, 30), SPEC, minimum_cell=10, earlier=[first])
        assert named(second) == {}


def test_a_share_is_not_shown_after_one_that_was_withheld() -> None:
    first = withhold(vector(50, 50, 45, 30), SPEC, minimum_cell=10)
    second = withhold(vector(50, 50, 30, 15), SPEC, minimum_cell=10, earlier=[first])
    assert set(named(first)) == set(named(second)) == set(NAMES) - {"sensitivity"}


def test_vectors_of_another_length_are_refused() -> None:
    exact = vector(50, 50, 30, 30)
    for given_, before in ((exact[1:], []), (exact, [exact[1:]])):
        with pytest.raises(ProtocolError):
            withhold(given_, SPEC, minimum_cell=10, earlier=before)
