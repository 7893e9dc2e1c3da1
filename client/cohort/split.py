"""Splits by patient: a keyed hash, so that a patient never moves when others come or go.

Imports the schema and the name of a patient.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal, get_args

from client.site.linkage import PatientKey
from shared.exam.schema import SplitRule

Split = Literal["train", "tune", "internal"]
SPLITS: tuple[Split, ...] = get_args(Split)


def split_of(patient: PatientKey, *, key: bytes, rule: SplitRule) -> Split:
    """The split of a patient: HMAC-SHA-256 of the pseudonym, read as a number in [0, 1).

    Args:
        patient: the site's pseudonym.
        key: the site's secret, so that nobody else can steer or guess a split.
        rule: shares of the three splits.
    """
    digest = hmac.new(key, b"split\0" + patient.encode(), hashlib.sha256).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < rule.train:
        return "train"
    return "tune" if position < rule.train + rule.tune else "internal"
