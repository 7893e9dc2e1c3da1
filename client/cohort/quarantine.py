"""Why an input was not used: one table of codes, each with its meaning and its remedy.

An entry names a whole film, a whole row, one value of a row that was kept, a link that could have been
another, or a region of a film: a box or a mask. Entries carry a keyed ``item`` instead of a file name
or a row number, because file names hold patients' names; the site's linkage file says what an item is.
Imports nothing of the project.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["film", "row", "value", "link", "region"]


@dataclass(frozen=True)
class Reason:
    """What a code means and what to do.

    ``is_loss``: the input should have been usable; ``is_rule``: it is its patient who is left out, so
    that nobody is lost.
    """

    meaning: str
    remedy: str
    is_loss: bool = True
    is_rule: bool = False


CODES: dict[str, Reason] = {
    "intake.unknown-split": Reason(
        "the split's column holds no word of the schema",
        "write train, tune or internal, or map the table's words under split.synonyms",
    ),
    "intake.conflicting-split": Reason(
        "rows of one patient name different splits", "give all rows of a patient the same split"
    ),
    "intake.unreadable-dicom": Reason(
        "the file is damaged, or no decoder here can read it; that does not make the film bad",
        "send it from the PACS again, uncompressed or in JPEG 2000 lossless; a PNG, export it again",
    ),
    "intake.decoder-failed": Reason(
        "reading the film crashed the decoder, took too long or too much memory",
        "send it from the PACS again, uncompressed; ingest again to retry",
    ),
    "intake.absent-film": Reason(
        "the DICOMDIR or the PACS lists the film, but there is no such file",
        "copy the whole medium, or ask the PACS for the film again",
    ),
    "intake.unsupported-syntax": Reason(
        "the transfer syntax is none that this release decodes",
        "ask the PACS to send uncompressed or JPEG 2000 lossless",
    ),
    "intake.not-dicom": Reason(
        "the file is no DICOM file, or in a tree of PNG files no PNG",
        "move it out of the films folder",
        is_loss=False,
    ),
    "intake.not-a-radiograph": Reason(
        "the object is no CR or DX image", "export radiographs only", is_loss=False
    ),
    "intake.secondary-capture": Reason(
        "the image is a secondary or screen capture, not the film itself",
        "export the original CR or DX image",
        is_loss=False,
    ),
    "intake.derived-film": Reason(
        "Image Type says DERIVED, and the schema's view takes original films only",
        "export the original film, if the archive has it",
        is_loss=False,
    ),
    "intake.burned-in-annotation": Reason(
        "the film declares text burned into its pixels, which may identify the patient",
        "export the film without annotation",
    ),
    "intake.not-greyscale": Reason(
        "the film has colour or palette pixels", "export the original greyscale film"
    ),
    "intake.unsupported-depth": Reason(
        "the film stores other than 2 to 16 bits per pixel in 8 or 16, or not from the lowest bit on",
        "export the original film",
    ),
    "intake.stray-bits": Reason(
        "pixels have bits above BitsStored that are no overlay, so that bright places would turn dark",
        "ask the vendor which is right, pixels or BitsStored, and send the film again",
    ),
    "intake.several-frames": Reason(
        "the file holds more than one frame", "export single films", is_loss=False
    ),
    "intake.too-large": Reason(
        "the file or its pixel matrix is larger than any radiograph", "check the export"
    ),
    "intake.blank-film": Reason("all pixels are equal", "check the export"),
    "intake.wrong-view": Reason(
        "body part and view position belong to no view of the schema",
        "nothing, if other projections are in the export; otherwise see the words that were found, and "
        "map them under films in the site profile",
        is_loss=False,
    ),
    "intake.unknown-words": Reason(
        "the film names no body part, or says body part or position in words that nobody here knows",
        "see the words that were found, and map them under films in the site profile",
        is_loss=False,
    ),
    "intake.conflicting-side": Reason(
        "the film's tag names one side, and its series' tag or the words for film or series the other",
        "correct the side at the source; where a word means something else, map it under films: sides",
    ),
    "intake.anatomy-not-found": Reason(
        "the anatomy of the view was not found on the film: another projection, mirrored or turned "
        "against its tags, or most of it hidden",
        "look at the film: correct its side, orientation or spacing at the source, or leave it out",
    ),
    "intake.anatomy-cut-off": Reason(
        "too much of the window around the anatomy, or of a crop, was not exposed",
        "look at the film: collimated too closely, or its shutter and padding are written wrongly",
    ),
    "intake.metal-on-anatomy": Reason(
        "metal or a marker lies on the anatomy", "choose a film without implant, or leave it out"
    ),
    "intake.missing-patient": Reason("the film or row names no patient", "correct the export"),
    "intake.foreign-issuer": Reason(
        "the patient number was issued by another institution",
        "link it to your own number first",
    ),
    "intake.missing-date": Reason(
        "the film has no date, or the row's date is absent or unreadable",
        "correct the date, or set date_format in the site profile",
    ),
    "intake.future-date": Reason(
        "the date lies after today", "check the scanner's clock and the date format"
    ),
    "intake.before-lock": Reason(
        "prospective intake: not acquired after the lock", "nothing", is_loss=False, is_rule=True
    ),
    "intake.after-lock": Reason(
        "acquired after the day on which the release is locked, and kept for prospective validation",
        "nothing",
        is_loss=False,
        is_rule=True,
    ),
    "intake.seen-in-training": Reason(
        "prospective intake: the patient took part in training", "nothing", is_loss=False, is_rule=True
    ),
    "intake.withdrawn": Reason(
        "the patient has withdrawn from research and is not taken in again",
        "nothing",
        is_loss=False,
        is_rule=True,
    ),
    "intake.unknown-patient": Reason(
        "the film's patient has no row in the clinical table", "add the patient's row"
    ),
    "intake.missing-row": Reason(
        "the patient has no row close enough to the film's date", "add the row of that visit"
    ),
    "intake.missing-film": Reason(
        "no usable film close enough to the row's date", "add the film, or leave the row out"
    ),
    "intake.several-rows": Reason(
        "several rows of the patient lie close enough to the film's date; the nearest was taken, of "
        "two equally near ones the earlier",
        "nothing, if visits are meant to be that close; otherwise remove the wrong row",
        is_loss=False,
    ),
    "intake.shared-row": Reason(
        "one row serves films of several dates, each of which is an exam of its own",
        "nothing, or add the row of each visit",
        is_loss=False,
    ),
    "intake.duplicate-film": Reason("the same film is already there", "nothing", is_loss=False),
    "intake.repeated-uid": Reason(
        "another film bears the same UID, and shows something else or is of another patient",
        "find out which is right: export both anew, or take the wrong one out",
    ),
    "intake.duplicate-exam": Reason(
        "an equal row of the same patient and date is already there",
        "nothing",
        is_loss=False,
        is_rule=True,
    ),
    "intake.over-cap": Reason(
        "the patient has more exams or films than any plan can take; those with a label come first, "
        "then chance decides which are kept",
        "nothing",
        is_loss=False,
    ),
    "intake.conflicting-rows": Reason(
        "rows of the same patient and date differ, so that none can be trusted",
        "keep the correct one",
    ),
    "intake.malformed-row": Reason(
        "the row has more or fewer cells than the header", "correct the export's quoting"
    ),
    "intake.missing-required-field": Reason(
        "a field that may not be missing is empty", "fill it in, or leave the patient out"
    ),
    "intake.not-a-number": Reason(
        "a number cannot be read", "check the decimal sign in the site profile"
    ),
    "intake.unknown-unit": Reason(
        "the unit is none that the schema converts", "correct the unit column or the site profile"
    ),
    "intake.out-of-range": Reason(
        "the value lies outside the accepted range, often a unit mistake",
        "check value and unit",
    ),
    "intake.unknown-category": Reason(
        "the value is no category of the field and no known spelling of one",
        "use the categories of the schema",
    ),
    "intake.missing-label": Reason(
        "the row has no label; it is kept, and counts neither in training nor in measures",
        "fill in the label",
    ),
    "intake.unreadable-mask": Reason(
        "the mask is no grey PNG and no DICOM Segmentation, or it is damaged",
        "export it again: a PNG with 0 beside the bone, or a SEG",
    ),
    "intake.mask-size": Reason(
        "the mask has other rows or columns than its film",
        "draw it on the film as it is stored, neither cut nor turned nor made smaller",
    ),
    "intake.empty-mask": Reason(
        "nothing is marked in the mask, or nothing within what the model sees of the film",
        "look at mask and film together; leave the mask out if the film shows no bone",
    ),
    "intake.seg-without-film": Reason(
        "the DICOM Segmentation does not say on which film it was drawn",
        "export it with its Derivation Image Sequence, or with the one film of its series",
    ),
    "intake.missing-crop": Reason(
        "no box or mask of the film can be used, and the schema looks at crops only",
        "mark the film's bones, or see the codes of its boxes and masks",
    ),
    "intake.empty-box": Reason(
        "the box has no width or height, or its edges are exchanged",
        "write x0 < x1 and y0 < y1, in pixels of the film as it is stored",
    ),
    "intake.box-outside-film": Reason(
        "the box reaches beyond the film: it was drawn on another size, or the film turned",
        "write its edges in pixels of the film as it is stored",
    ),
    "intake.unknown-crop-unit": Reason(
        "the box or mask is of a unit that the schema does not crop",
        "nothing, if it is of none; else map its word under films: units in the site profile",
        is_loss=False,
    ),
    "intake.duplicate-unit": Reason(
        "a unit of the film is marked more than once, so that none of the marks can be trusted",
        "keep the correct one",
    ),
    "intake.region-of-unknown-film": Reason(
        "no film of the intake is called so",
        "call the film by its SOP Instance UID, or by its file with all folders below films/",
    ),
    "intake.region-of-unused-film": Reason(
        "the film to which it belongs was not used", "see that film's own code", is_loss=False
    ),
    "intake.under-age": Reason(
        "the patient is younger than the schema includes", "nothing", is_loss=False, is_rule=True
    ),
}


# Codes that nothing gives any more, and that older cohorts hold.
RETIRED: dict[str, Reason] = {
    "intake.overlay-plane": Reason(
        "an earlier release left out films with an overlay plane", "ingest again: they are read now"
    ),
}


def reason_of(code: str) -> Reason:
    """What a code means, one of an earlier release too."""
    return CODES.get(code) or RETIRED[code]


@dataclass(frozen=True)
class Quarantined:
    """One input, or one value of a kept row, that was not used; or a link that needed a choice.

    ``costs_patient``: a film that is the cause why its patient has no exam.
    """

    kind: Kind
    code: str
    item: str
    field: str = ""
    costs_patient: bool = False

    @property
    def is_loss(self) -> bool:
        """Whether something that should have been usable was not, or a patient is lost by it."""
        return self.costs_patient or reason_of(self.code).is_loss


@dataclass(frozen=True)
class CodeCount:
    """How many inputs of a kind were quarantined with a code."""

    kind: Kind
    code: str
    n: int

    @property
    def is_loss(self) -> bool:
        """Whether whole inputs that should have been usable were lost."""
        return self.kind in ("film", "row") and reason_of(self.code).is_loss


def count_codes(entries: Iterable[Quarantined]) -> tuple[CodeCount, ...]:
    """Counts per kind and code, in alphabetical order."""
    counter = Counter((entry.kind, entry.code) for entry in entries)
    return tuple(CodeCount(kind, code, n) for (kind, code), n in sorted(counter.items()))
