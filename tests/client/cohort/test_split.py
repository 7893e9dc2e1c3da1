"""Splits by keyed hash."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from client.cohort.split import SPLITS, split_of
from client.site.linkage import PatientKey
from shared.exam.schema import SplitRule

KEY = b"k" * 32
PATIENTS = st.sets(st.text("0123456789abcdef", min_size=32, max_size=32), max_size=40)
RULE = SplitRule(train=0.6, tune=0.1, internal=0.3)


def splits(patients: set[str], key: bytes = KEY) -> dict[str, str]:
    return {name: split_of(PatientKey(name), key=key, rule=RULE) for name in patients}


@given(PATIENTS, PATIENTS)
def test_patient_never_moves_when_others_join(first, later):
    before, after = splits(first), splits(first | later)
    assert all(after[name] == split for name, split in before.items())


def test_shares_come_out_as_declared():
    found = list(splits({f"{number:032x}" for number in range(20_000)}).values())
    # SD of a share of 0.6 over 20,000 is 0.0035
    for split, share in zip(SPLITS, (0.6, 0.1, 0.3), strict=True):
        assert abs(found.count(split) / 20_000 - share) < 0.015


def test_another_sites_key_splits_independently():
    names = {f"{number:032x}" for number in range(4_000)}
    ours, theirs = splits(names), splits(names, b"j" * 32)
    same = sum(ours[name] == theirs[name] for name in names) / 4_000
    assert abs(same - (0.36 + 0.01 + 0.09)) < 0.04


def test_all_in_one_split_is_possible():
    rule = SplitRule(train=0, tune=0, internal=1)
    assert {split_of(PatientKey(str(n)), key=KEY, rule=rule) for n in range(500)} == {"internal"}
