"""Reads one new exam with a release, at the site: value, T-score, class, and where the model looked.

Nothing is charged, because nothing leaves. Not a medical device. Imports release, model and dicom.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from client.cohort.label import label_bmd, match_category
from client.cohort.quarantine import CODES
from client.intake.films import NO_CROP
from client.intake.folder_inputs import regions_of
from client.intake.read_film import ReadFilm
from client.intake.regions import Regions
from client.intake.workers import ReadingRule, read_films
from client.reading.asking import ask_exam, make_scored
from client.reading.field_attention import attend_fields
from client.reading.map_kinds import WORDS, MapKind
from client.reading.maps import ExamMaps, make_maps
from client.site.folder import Site
from client.site.profile import SiteProfile
from shared.contract.release import Release
from shared.errors import IntakeError, WeightsError
from shared.exam.pixels import PREPROCESSING_VERSION
from shared.exam.schema import ClinicalField, CohortSchema
from shared.exam.standardise import standardise
from shared.exam.time_to_event import TimeToEventLabel
from shared.machine.files import make_folder

if TYPE_CHECKING:
    from torch import Tensor

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a release says about one exam.

    ``value`` is in ``unit``, or the probability of the class ``probability_of``, the endpoint (None
    where a number is predicted); ``t_score`` is None where the label has none. ``class_name`` is called
    by ``rule``, as in validation; it need not be the ``likeliest`` of ``probabilities``, which hold
    every class (None and empty where a number is predicted). ``risks`` of a time to event are those of
    the event by each of the label's edges, the last of them the value. ``films`` are the normalised
    films [h, w]; ``maps``: where the model looked at each.
    ``field_attention``: how much the films attend to each clinical field, where a release has such
    attention.
    """

    value: float
    unit: str
    probability_of: str | None
    t_score: float | None
    class_name: str
    rule: str
    probabilities: Mapping[str, float]
    likeliest: str | None
    risks: Mapping[str, float]
    films: tuple[Image, ...]
    maps: ExamMaps
    field_attention: Mapping[str, float]

    @property
    def scale(self) -> str:
        """What the value is measured in: a unit, or whose probability."""
        return self.unit if self.probability_of is None else f"{self.unit} of {self.probability_of}"

    def facts(self) -> dict[str, object]:
        """The reading in words; what the label does not have is left out."""
        t_score = None if self.t_score is None else f"{self.t_score:+.2f}"
        words: dict[str, object] = {f"risk {when}": f"{p:.3f}" for when, p in self.risks.items()}
        words |= {f"probability of {name}": f"{p:.3f}" for name, p in self.probabilities.items()}
        if not self.probabilities:
            words["value"] = f"{self.value:.3f} {self.unit}".rstrip()
        words |= {
            "T-score": t_score,
            "likeliest class": self.likeliest,
            "class": f"{self.class_name} ({self.rule})",
        }
        return {name: text for name, text in words.items() if text is not None}


def draw_heat_maps(site: Site, reading: Prediction, path: Path | None = None) -> Path | None:
    """Write the films of a reading beside their heat maps.

    Args:
        site: by default the picture is ``readings/<time>.png`` in its folder.
        reading: what was predicted.
        path: another PNG file.

    Returns:
        The file; None where the exam has no film, or no map may be drawn of any.
    """
    from client.reading.heat_map import write_heat_maps

    maps, words = reading.maps, WORDS[reading.maps.kind]
    if all(heat is None for heat in maps.heats):
        return None
    written = path
    if written is None:
        make_folder(site.readings, mode=0o700)
        written = site.readings / f"{site.clock():%Y%m%dT%H%M%S%fZ}.png"
    caption = ", ".join(f"{name} {text}" for name, text in reading.facts().items())
    write_heat_maps(
        written,
        reading.films,
        maps.heats,
        caption=caption,
        title=words.title,
        unit=words.unit or reading.scale,
        field_attention=reading.field_attention,
    )
    return written


def predict(
    release: Release,
    films: Sequence[Path],
    values: Mapping[str, str],
    *,
    profile: SiteProfile | None = None,
    boxes: Path | None = None,
    masks: Path | None = None,
    map_kind: MapKind = "occlusion",
) -> Prediction:
    """Read one exam with nothing but a release: also where nobody trained, on no roster.

    Args:
        release: a verified release, with its encoder.
        films: DICOM files of one exam.
        values: clinical values by field name, in the schema's unit; absent ones are missing.
        profile: how this hospital's films are named, as for its intake.
        boxes: a table of what is cropped from them, where the release's schema crops by boxes.
        masks: a folder of masks, for crops by masks or within them.
        map_kind: how it is asked where the model looked.

    Raises:
        IntakeError: no film, an unreadable one or one of another view; a value is unknown or out of
            range; a map of this kind cannot be made of this release.
        WeightsError: this code prepares films otherwise than the release's.
    """
    import torch

    settings = release.plan.settings
    schema = settings.cohort
    own = profile or SiteProfile()
    given = regions_of(None, schema, own, masks=masks, boxes=boxes)
    seen = _read(films, ReadingRule.of(schema, own, Regions(tuple(given))))
    images = [view.image for view in seen]
    fields, field_mask = standardise([read_values(values, schema)], schema)
    clinical = (torch.from_numpy(fields)[:, None], torch.from_numpy(field_mask)[:, None])  # [1,1,k]
    if not settings.reads_films:
        nothing = torch.zeros(1, 0, 0, 0)
        return _describe(release, make_scored(release)(nothing, *clinical), [])
    if not images:
        raise IntakeError(
            "no-film-given",
            "this release reads films, and none was given",
            hint="name the exam's DICOM files before the values",
        )
    _require_preprocessing(release)
    stack = torch.from_numpy(np.stack(images))  # [v,h,w]
    asked = ask_exam(release, stack, clinical, masks=[view.mask for view in seen])
    maps = make_maps(
        map_kind,
        release,
        stack,
        score_of=asked.score_of,
        outputs_of_tokens=asked.outputs_of_tokens,
        clinical=clinical,
    )
    attention = attend_fields(release, asked.seen_by_model(stack[None]), *clinical)
    reading = _describe(release, asked.outputs_of(stack[None]), images)
    return replace(reading, maps=maps, field_attention=attention)


def _require_preprocessing(release: Release) -> None:
    if release.record.preprocessing != PREPROCESSING_VERSION:
        raise WeightsError(
            "other-preprocessing",
            f"the release takes films as {release.record.preprocessing} prepares them, this code "
            f"prepares them as {PREPROCESSING_VERSION}",
            hint="read with the version of OsteoFed that made the release",
        )


def read_values(values: Mapping[str, str], schema: CohortSchema) -> dict[str, float | str | None]:
    """Clinical values as the schema has them.

    Raises:
        IntakeError: every unknown name and unusable value together; no value is repeated.
    """
    fields = {field.name: field for field in schema.fields}
    problems = [f"  {name}: must be one of {sorted(fields)}" for name in values if name not in fields]
    read: dict[str, float | str | None] = {}
    for name, field in fields.items():
        if name not in values:
            if not field.may_be_missing:
                problems.append(f"  {name}: is required")
            continue
        read[name] = _parse(values[name], field)
        if read[name] is None:
            problems.append(f"  {name}: must be {_allowed(field)}")
    if problems:
        raise IntakeError(
            "unusable-values",
            "the clinical values cannot be used:\n" + "\n".join(problems),
            hint="give them as name=value, in the schema's unit",
        )
    return read


def _allowed(field: ClinicalField) -> str:
    if field.kind == "category":
        return str(list(field.categories))
    return f"{field.low} to {field.high} {field.unit}"


def _parse(text: str, field: ClinicalField) -> float | str | None:
    if field.kind == "category":
        return match_category(text, field.categories, field.synonyms)
    try:
        number = float(text)
    except ValueError:
        return None
    return number if field.low <= number <= field.high else None


@dataclass(frozen=True)
class _View:
    """An image [h,w] of an exam; the mask of a crop, None where none is given, or of a whole film."""

    image: Image
    mask: Mask | None = None


def _read(paths: Sequence[Path], rule: ReadingRule) -> list[_View]:
    """The images of an exam's films, from the workers that an intake has.

    Raises:
        IntakeError: a film cannot be read, or should not be.
    """
    reads = read_films(paths, rule, workers=min(len(paths), len(os.sched_getaffinity(0))))
    return [view for read in reads for view in _usable(read, rule)]


def _usable(read: ReadFilm, rule: ReadingRule) -> list[_View]:
    code = next(iter(read.framing.flags), "") if read.framing else read.code
    if not code and rule.crops is not None and not read.crops:
        code = next((of_region for _, of_region in read.regions if of_region), NO_CROP)
    if code:
        reason, fact = CODES[code], CODES[code].meaning
        if read.film is not None and read.view is None:
            fact += f"; views are {[view.name for view in rule.views]}"
        raise IntakeError(code.partition(".")[2], fact, hint=reason.remedy)
    whole = _View(rule.image_of(read.image).astype(np.float32))
    if rule.crops is None:
        return [whole]
    return [whole] * rule.crops.keeps_film + [
        _View(rule.image_of(crop.image).astype(np.float32), rule.mask_of(crop.mask))
        for crop in read.crops
    ]


def risks_by_edge(label: TimeToEventLabel, likelihood: NDArray[np.floating]) -> dict[str, float]:
    """Cumulative incidence of the event by each edge, from one patient's likelihoods [q]."""
    risks = np.cumsum(likelihood[: label.n_intervals], dtype=np.float64)
    return {
        f"by {edge:g} {label.unit}": float(risk) for edge, risk in zip(label.edges, risks, strict=True)
    }


def _describe(release: Release, outputs: Tensor, films: Sequence[Image]) -> Prediction:
    settings, decision = release.plan.settings, release.record.decision
    label, found = settings.cohort.label, outputs.numpy()
    value = float(decision.score(found)[0])
    unit = settings.task.target_unit if settings.task.kind == "regression" else ""
    t_score = None
    if decision.is_regression and label.kind == "bmd":
        t_score = label_bmd(value, vendor=label.reference_vendor, label=label).t_score
    chances, likeliest = {}, None
    if not decision.is_regression:
        of_classes = decision.chances(found.astype(np.float64))[0]
        chances = dict(zip(decision.classes, map(float, of_classes), strict=True))
        likeliest = decision.classes[int(decision.likeliest(found)[0])]
    return Prediction(
        value=value,
        unit=unit or "probability",
        probability_of=None if decision.is_regression else decision.classes[decision.endpoint],
        t_score=t_score,
        class_name=decision.classes[int(decision.call(found)[0])],
        rule=decision.in_words(unit),
        probabilities=chances,
        likeliest=likeliest,
        risks=risks_by_edge(label, found[0]) if label.kind == "time_to_event" else {},
        films=tuple(films),
        maps=ExamMaps(),
        field_attention={},
    )
