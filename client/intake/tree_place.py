"""Where a PNG file lies in a tree, ``part/patient/study_label/image.png``, and what that says of it.

The form is MURA's (Rajpurkar et al. 2018): ``XR_WRIST/patient00011/study1_positive/image1.png``. What a
file says depends on its own place only. Pure; imports nothing of the project.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import PurePath

STUDY_COLUMN = "study"  # of the table that a tree is
LEVELS = 4
# The day of what has no date; studies of a tree stand in the order of their numbers, a day apart.
UNDATED = date(2000, 1, 1)
_NUMBERED = re.compile(r"\D*([0-9]{0,3})")


@dataclass(frozen=True)
class TreePlace:
    """What the last four parts of a path say; ``label`` is empty where the study's folder has none.

    ``study``: the folder's name before its label.
    """

    part: str
    patient: str = field(repr=False)
    study: str
    label: str
    image: str = field(repr=False)

    @property
    def name(self) -> str:
        """Tells a file from every other of the tree, whatever its study was labelled."""
        return "/".join((self.part, self.patient, self.study, self.image))


def place_in_tree(path: PurePath) -> TreePlace | None:
    """What a file's place says; None where it does not lie deep enough."""
    if len(path.parts) < LEVELS:
        return None
    part, patient, folder, image = path.parts[-LEVELS:]
    study, _, label = folder.partition("_")
    return TreePlace(part, patient, study, label, image)


def study_day(study: str) -> date | None:
    """The day that stands for a study: ``study2`` follows ``study1``; one without a number is first.

    None where the name holds more than letters and up to three digits: its place is not known.
    """
    found = _NUMBERED.fullmatch(study)
    return UNDATED + timedelta(days=int(found[1] or 0)) if found else None
