"""Labels: a BMD of any DXA vendor becomes the reference vendor's BMD, a T-score and a class.

Imports errors, schema and profile only.
"""

from __future__ import annotations

from dataclasses import dataclass

from client.site.profile import SiteProfile
from shared.errors import IntakeError
from shared.exam.schema import BmdLabel, ClassLabel, Label


@dataclass(frozen=True, kw_only=True)
class ExamLabel:
    """What is known about an exam's outcome; ``None`` where the label has no such part.

    ``number`` is a BMD in g/cm² on the reference vendor's scale, or the schema's number.
    """

    number: float | None = None
    t_score: float | None = None
    class_name: str | None = None


def convert_bmd(bmd_g_cm2: float, *, vendor: str, label: BmdLabel) -> float:
    """BMD in g/cm² as the schema's reference vendor would have measured it.

    Both scanners see the same standardised BMD, a_v + b_v·x = a_ref + b_ref·y.

    Source: Lu et al. 2001, Osteoporos Int 12:438.
    """
    intercept, slope = label.conversions[vendor]
    reference_intercept, reference_slope = label.conversions[label.reference_vendor]
    return (intercept + slope * bmd_g_cm2 - reference_intercept) / reference_slope


def label_bmd(bmd_g_cm2: float, *, vendor: str, label: BmdLabel) -> ExamLabel:
    """Reference BMD, T-score and class; a T-score on a threshold belongs to the worse class."""
    reference = convert_bmd(bmd_g_cm2, vendor=vendor, label=label)
    # Rounded so that a BMD typed with three decimals falls on −2.5 and not 1e-16 beside it.
    t_score = round((reference - label.reference_mean) / label.reference_sd, 9)
    rank = sum(t_score <= threshold for threshold in label.class_t_scores)
    return ExamLabel(number=reference, t_score=t_score, class_name=label.classes[rank])


def label_class(text: str, label: ClassLabel) -> ExamLabel | None:
    """The class that a cell names, exactly or by a known spelling; None if it names none."""
    name = match_category(text, label.classes, label.synonyms)
    return None if name is None else ExamLabel(class_name=name)


def match_category(text: str, names: tuple[str, ...], synonyms: dict[str, str]) -> str | None:
    """The category that a cell names, without regard to case."""
    folded = text.strip().lower()
    known = {key.lower(): value for key, value in synonyms.items()}
    known |= {name.lower(): name for name in names}
    return known.get(folded)


def check_declaration(label: Label, profile: SiteProfile) -> None:
    """Refuse BMD labels of an undeclared scanner or of another skeletal site.

    Raises:
        IntakeError: vendor or skeletal site is undeclared or does not suit the schema.
    """
    if not isinstance(label, BmdLabel) or not profile.has_labels:
        return
    if profile.dxa_vendor not in label.conversions:
        raise IntakeError(
            "undeclared-vendor",
            f"dxa_vendor must be one of {sorted(label.conversions)}, not {profile.dxa_vendor}",
            hint="declare the site's DXA vendor in its profile; BMD differs by vendor",
        )
    if profile.dxa_skeletal_site != label.skeletal_site:
        raise IntakeError(
            "wrong-skeletal-site",
            f"dxa_skeletal_site must be {label.skeletal_site}, not {profile.dxa_skeletal_site}",
            hint="export the BMD of that region; regions have different references",
        )
