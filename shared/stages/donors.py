"""One clinical field of each patient, replaced by what a public donor has there.

A donor is drawn from the schema's public reference (a number: normal about its mean within its range;
a category: any), by a hash of the exam's own fields: whose value it is depends on no other patient, as
permuting a cohort's column would. What an exam lacks stays lacking. Imports patients and the schema.
Legend: b patients · u exams · k fields.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import torch

from shared.exam.schema import ClinicalField
from shared.train.patients import PatientBatch

_NORMAL = NormalDist()


def with_donors(patients: PatientBatch, place: int, field: ClinicalField) -> PatientBatch:
    """The same patients [b], the field at ``place`` a donor's wherever an exam has it."""
    fields, mask = patients.fields.cpu().numpy(), patients.field_mask.cpu().numpy()  # [b,u,k]
    donated = fields.copy()
    for patient, exam in np.argwhere(mask[..., place]):
        own = fields[patient, exam].tobytes() + mask[patient, exam].tobytes()
        donated[patient, exam, place] = _donor(own, field)
    return replace(patients, fields=torch.from_numpy(donated).to(patients.fields.device))


def _donor(own: bytes, field: ClinicalField) -> float:
    """A value as a batch holds it: in public SDs from the public mean, or a category's place."""
    digest = hashlib.sha256(field.name.encode() + b"\0" + own).digest()
    share = (int.from_bytes(digest[:6], "big") + 0.5) / 2**48
    if field.kind == "category":
        return float(int(share * len(field.categories)))
    low, high = (
        _NORMAL.cdf((end - field.reference_mean) / field.reference_sd)
        for end in (field.low, field.high)
    )
    within = min(max(low + share * (high - low), 1e-12), 1.0 - 1e-12)
    return _NORMAL.inv_cdf(within)
