"""Splits by keyed hash."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from client.cohort.split import SPLITS, SplitCase, split_of, splits_of
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


def cases(n: int) -> dict[PatientKey, SplitCase]:
    """A tenth is ill."""
    return {
        PatientKey(f"{number:032x}"): SplitCase(stratum="ill" if number % 10 == 0 else "well")
        for number in range(n)
    }


def test_without_a_word_of_the_table_every_patient_goes_by_the_hash() -> None:
    people = cases(50)
    found = splits_of(people, key=KEY, rule=RULE)
    assert found == {name: split_of(name, key=KEY, rule=RULE) for name in people}
    assert list(found) == list(people)


def test_what_the_table_says_of_a_patient_holds() -> None:
    people = {PatientKey("a" * 32): SplitCase(given="tune"), PatientKey("b" * 32): SplitCase()}
    found = splits_of(people, key=KEY, rule=SplitRule(train=1.0, tune=0.0, internal=0.0))
    assert list(found.values()) == ["tune", "train"]


def test_strata_have_their_share_of_every_split_and_the_key_says_who() -> None:
    rule = RULE.model_copy(update={"stratified": True})
    people = cases(200)
    found = splits_of(people, key=KEY, rule=rule)
    for stratum, size in (("ill", 20), ("well", 180)):
        own = [found[name] for name, case in people.items() if case.stratum == stratum]
        assert [own.count(split) for split in SPLITS] == [size * 6 // 10, size // 10, size * 3 // 10]
    assert splits_of(people, key=b"j" * 32, rule=rule) != found
    assert splits_of(dict(reversed(people.items())), key=KEY, rule=rule) == found
