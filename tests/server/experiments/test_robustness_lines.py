"""Cases are every choice of what the bad do and of the rule, and lines are read as written."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from server.experiments.robustness_lines import (
    ATTACKS,
    BAD,
    EPSILONS,
    RULES,
    SIZES,
    Case,
    Line,
    list_cases,
    read_lines,
)


def test_cases_are_every_choice_of_a_population_before_the_next() -> None:
    cases = list(list_cases(seeds=(1, 2)))
    assert len(set(cases)) == len(cases) == 2 * len(BAD) * len(EPSILONS) * len(ATTACKS) * len(RULES)
    assert [case.seed for case in cases] == [1] * (len(cases) // 2) + [2] * (len(cases) // 2)
    assert {case.epsilon for case in list_cases(seeds=(1,), epsilons=(3.0,))} == {3.0}


def test_bad_hospitals_are_a_minority_and_of_middle_size() -> None:
    for n_sites, bad in BAD.items():
        assert 2 * len(bad) < n_sites <= len(SIZES)
        assert all(0 < place < n_sites - 1 for place in bad)


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    lines = [
        Line(case=case, r2=0.125, auc=0.75, kept=0.0625) for case in list(list_cases(seeds=(7,)))[:3]
    ]
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(json.dumps(asdict(line)) + "\n" for line in lines))
    assert read_lines(path) == lines
    assert isinstance(read_lines(path)[0].case, Case)
