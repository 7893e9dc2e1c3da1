"""Splits by patient: a keyed hash, so that a patient never moves when others come or go.

A schema may take the table's own column instead, or, where nothing private is released, the same share
of every class. Imports the schema and the name of a patient.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from client.site.linkage import PatientKey
from shared.exam.schema import Split, SplitRule

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class SplitCase:
    """What a patient's split may go by besides the pseudonym: what the table says, and the class."""

    given: Split | None = None
    stratum: str = ""


def splits_of(
    cases: Mapping[PatientKey, SplitCase], *, key: bytes, rule: SplitRule
) -> dict[PatientKey, Split]:
    """The split of every patient of a cohort.

    Args:
        cases: by the site's pseudonym.
        key: as of ``split_of``.
        rule: shares of the three splits, or the table's own word.
    """
    if not rule.stratified:
        return {
            patient: case.given or split_of(patient, key=key, rule=rule)
            for patient, case in cases.items()
        }
    strata: dict[str, list[PatientKey]] = defaultdict(list)
    for patient, case in cases.items():
        strata[case.stratum].append(patient)
    found: dict[PatientKey, Split] = {}
    for patients in strata.values():
        patients.sort(key=lambda patient: _position(patient, key))
        ends = round(rule.train * len(patients)), round((rule.train + rule.tune) * len(patients))
        for place, patient in enumerate(patients):
            found[patient] = "train" if place < ends[0] else "tune" if place < ends[1] else "internal"
    return found


def split_of(patient: PatientKey, *, key: bytes, rule: SplitRule) -> Split:
    """The split of a patient: HMAC-SHA-256 of the pseudonym, read as a number in [0, 1).

    Args:
        patient: the site's pseudonym.
        key: the site's secret, so that nobody else can steer or guess a split.
        rule: shares of the three splits.
    """
    position = _position(patient, key)
    if position < rule.train:
        return "train"
    return "tune" if position < rule.train + rule.tune else "internal"


def _position(patient: PatientKey, key: bytes) -> float:
    digest = hmac.new(key, b"split\0" + patient.encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
