"""Reads one new exam with a release, at the site: value, T-score, class, and where the model looked.

Nothing is charged, because nothing leaves. Not a medical device. Imports release, model and dicom.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from client.cohort.label import label_bmd, match_category
from client.cohort.quarantine import CODES
from client.intake.films import NO_CROP
from client.intake.folder_inputs import regions_of
from client.intake.read_film import ReadFilm
from client.intake.regions import Regions
from client.intake.workers import ReadingRule, read_films
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
_AT_ONCE = 32  # pictures of an exam with a place hidden


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
    scored = make_scored(release)
    if not settings.reads_films:
        return _describe(release, scored(torch.zeros(1, 0, 0, 0), *clinical), [])
    if not images:
        raise IntakeError(
            "no-film-given",
            "this release reads films, and none was given",
            hint="name the exam's DICOM files before the values",
        )
    _require_preprocessing(release)
    seen_by_model, columns_of = _make_seen(release), _make_columns(release)

    def outputs_of(views: Tensor) -> Tensor:
        """Outputs [n,o] of views [n,v,h,w], each with this exam's clinical values."""
        parts = []
        for part in torch.split(views, _AT_ONCE):
            values, present = (each.expand(len(part), 1, -1) for each in clinical)
            said = columns_of(part, [view.mask for view in seen])
            parts.append(scored(seen_by_model(part), values, present, said))
        return torch.cat(parts)

    def score_of(views: Tensor) -> Tensor:
        """The score [n] of views [n,v,h,w]."""
        return torch.from_numpy(release.record.decision.score(outputs_of(views).numpy()))

    stack = torch.from_numpy(np.stack(images))  # [v,h,w]
    said_of_films = columns_of(stack[None], [view.mask for view in seen])

    def outputs_of_tokens(tokens: Tensor) -> Tensor:
        """Outputs [n,o] of tokens [n,v,t,c], with what else is said of this exam."""
        same = (each.expand(len(tokens), *each.shape[1:]) for each in (*clinical, said_of_films))
        return scored(tokens, *same)

    maps = make_maps(
        map_kind,
        release,
        stack,
        score_of=score_of,
        outputs_of_tokens=outputs_of_tokens,
        clinical=clinical,
    )
    attention = attend_fields(release, seen_by_model(stack[None]), *clinical)
    reading = _describe(release, outputs_of(stack[None]), images)
    return replace(reading, maps=maps, field_attention=attention)


class Scored(Protocol):
    """What scores exams with a release."""

    def __call__(
        self, tokens: Tensor, fields: Tensor, field_mask: Tensor, film_columns: Tensor | None = None, /
    ) -> Tensor:
        """Outputs [n,o] of tokens [n,v,t,c] or films [n,v,h,w], fields [n,1,k], field_mask [n,1,k], and
        what sources of films say of each [n,v,f]."""


def make_scored(release: Release) -> Scored:
    """What scores exams with a release, as validation does: in the task's unit, or a probability.

    Raises:
        PlanError: the release's plan trains nothing.
    """
    import torch

    from shared.stages.scores import scorer_of
    from shared.train.patients import PatientBatch

    plan = release.plan
    scorer = scorer_of(plan, plan.trained, release.encoder_file)

    def scored(
        tokens: Tensor, fields: Tensor, field_mask: Tensor, film_columns: Tensor | None = None, /
    ) -> Tensor:
        n = len(tokens)
        exams = PatientBatch(
            tokens=tokens,
            film_exam=torch.zeros(tokens.shape[:2], dtype=torch.int64),
            fields=fields,
            field_mask=field_mask,
            target=torch.zeros(n, 1),
            exam_mask=torch.ones(n, 1, dtype=torch.bool),
            film_columns=torch.empty(0) if film_columns is None else film_columns,
        )
        return torch.from_numpy(scorer.score(release.weights, exams).exams.outputs)

    return scored


def _require_preprocessing(release: Release) -> None:
    if release.record.preprocessing != PREPROCESSING_VERSION:
        raise WeightsError(
            "other-preprocessing",
            f"the release takes films as {release.record.preprocessing} prepares them, this code "
            f"prepares them as {PREPROCESSING_VERSION}",
            hint="read with the version of OsteoFed that made the release",
        )


def _make_seen(release: Release) -> Callable[[Tensor], Tensor]:
    """Films [n,v,h,w] as the model takes them: as they are, or a frozen encoder's tokens [n,v,t,c]."""
    from shared.model.encoders import encode, load_encoder

    settings, file = release.plan.settings.encoder, release.encoder_file
    if settings.training != "frozen" or file is None:
        return lambda views: views
    if not release.plan.settings.reads_tokens:
        return lambda views: views.new_zeros(*views.shape[:2], 0, 0)
    encoder = load_encoder(settings, file)

    def tokens_of(views: Tensor) -> Tensor:
        n, v, h, w = views.shape
        tokens = encode(encoder, views.reshape(n * v, 1, h, w))
        return tokens.reshape(n, v, *tokens.shape[1:])

    return tokens_of


def _make_columns(release: Release) -> Callable[[Tensor, Sequence[Mask | None]], Tensor]:
    """What sources of films say of films and their masks, as an intake's cohort has it.

    Shapes: [n,v,h,w] and v masks, the same of each n -> [n,v,f].
    """
    import torch

    from shared.train.film_columns import make_measure

    settings = release.plan.settings
    measures = [
        make_measure(settings, source, release.encoders.__getitem__)
        for source in settings.features.of_films
    ]

    def columns_of(views: Tensor, masks: Sequence[Mask | None]) -> Tensor:
        n, v, h, w = views.shape
        # A cohort keeps films as half precision.
        films = views.reshape(n * v, h, w).half().numpy()
        nothing = np.zeros((n * v, 0), dtype=np.float32)
        blocks = [nothing, *(measure(films, [*masks] * n) for measure in measures)]
        return torch.from_numpy(np.concatenate(blocks, axis=1)).reshape(n, v, -1)

    return columns_of


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
