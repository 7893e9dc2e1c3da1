"""A cohort as one HTML page for the hospital's own data manager; it names files and shows films.

The page makes no request (its content policy forbids it), is readable by its owner only, and lies in
the site's ``pages`` folder, which nothing sends. Imports figures and pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.cohort.folder import Cohort, Exam, StoredFilm
from client.cohort.framing import framing_in_words
from client.cohort_page.figures import (
    OUTLYING,
    Floats,
    class_thresholds,
    count_scanners,
    count_splits,
    describe_images,
    films_per_year,
    find_outliers,
    label_numbers,
    missing_shares,
    numbers_of,
)
from client.cohort_page.pictures import draw_bars, draw_histogram, draw_window, png_uri
from client.cohort_page.quarantine import group_quarantine
from client.intake.found_words import read_words
from client.site.folder import Site
from shared.exam.schema import BmdLabel, NumberLabel
from shared.machine.files import write_atomic

TEMPLATE = "cohort.html.j2"
SHEET_FILMS, SHEET_UNSURE, SHOWN_OUTLIERS = 30, 12, 12


@dataclass(frozen=True, kw_only=True)
class SheetFilm:
    """One film of a sheet: what a model sees, as a PNG, and the whole film as SVG, if it is kept."""

    seen: str
    whole: str
    caption: str


def write_cohort_page(site: Site, cohort: Cohort) -> Path:
    """Write ``pages/<cohort>-v<k>.html`` into the site's folder and return its path."""
    path = site.page_file(cohort.name, cohort.version)
    write_atomic(path, render_cohort(site, cohort).encode(), mode=0o600)
    return path


def render_cohort(site: Site, cohort: Cohort) -> str:
    """The page as HTML text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    described = describe_images(cohort)
    outliers = find_outliers(cohort, described)
    return environment.get_template(TEMPLATE).render(
        site=site.name,
        cohort=cohort,
        written=site.clock().strftime("%Y-%m-%d %H:%M UTC"),
        n_patients=len(cohort.patients()),
        n_labelled=sum(exam.label is not None for exam in cohort.exams),
        splits=count_splits(cohort),
        classes=_classes(cohort),
        ages=_draw_ages(cohort),
        label=_draw_label(cohort),
        fields=_draw_fields(cohort),
        missing=draw_bars(
            missing_shares(cohort), title="Missing values", as_share=True, warn_above=0.3
        ),
        years=draw_bars(films_per_year(cohort, site.pseudonyms), title="Films per year"),
        scanners=count_scanners(cohort, described),
        films=_contact_sheet(cohort, by_lot),
        unsure=_contact_sheet(cohort, by_confidence)[:SHEET_UNSURE],
        framing=framing_in_words(cohort),
        n_outliers=len(outliers),
        outlying=OUTLYING,
        outliers=[
            (each, None if each.image is None else png_uri(cohort.images[each.image]))
            for each in outliers[:SHOWN_OUTLIERS]
        ],
        groups=group_quarantine(cohort.quarantined, site.linkage),
        words=read_words(site.cohorts / cohort.name),
    )


def _classes(cohort: Cohort) -> tuple[str, ...]:
    label = cohort.schema.label
    return () if isinstance(label, NumberLabel) else label.classes


def _by_sex(cohort: Cohort) -> list[tuple[str, Sequence[Exam]]]:
    """Exams by the two sexes where the schema has such a field; else all of them together."""
    field = next((each for each in cohort.schema.fields if each.name == "sex"), None)
    if field is None or field.kind != "category":
        return [("", cohort.exams)]
    groups = [
        (name, [exam for exam in cohort.exams if exam.values.get("sex") == name])
        for name in field.categories
    ]
    unknown = [exam for exam in cohort.exams if exam.values.get("sex") is None]
    return [(name, exams) for name, exams in [*groups, ("not known", unknown)] if exams]


def _draw_ages(cohort: Cohort) -> str:
    """Ages of patients at their first exam."""
    name = cohort.schema.age_field
    if not name:
        return ""
    seen: set[str] = set()
    firsts: set[str] = set()
    for exam in sorted(cohort.exams, key=lambda each: (each.patient, each.day)):
        if exam.patient not in seen:
            seen.add(exam.patient)
            firsts.add(exam.exam)
    groups = [
        (sex, numbers_of([exam for exam in exams if exam.exam in firsts], name))
        for sex, exams in _by_sex(cohort)
    ]
    return draw_histogram(groups, title="Age at the first exam", unit="years, 90 stands for older too")


def _draw_label(cohort: Cohort) -> str:
    label = cohort.schema.label
    if isinstance(label, BmdLabel | NumberLabel):
        groups: list[tuple[str, Floats]] = [
            (sex, label_numbers(exams)) for sex, exams in _by_sex(cohort)
        ]
        scale = (
            f", on the scale of {label.reference_vendor.capitalize()}"
            if isinstance(label, BmdLabel)
            else ""
        )
        return draw_histogram(
            groups, title=label.column, unit=f"{label.unit}{scale}", marks=class_thresholds(label)
        )
    counted = [
        (
            name,
            float(
                sum(exam.label is not None and exam.label.class_name == name for exam in cohort.exams)
            ),
        )
        for name in label.classes
    ]
    return draw_bars(counted, title=label.column)


def _draw_fields(cohort: Cohort) -> list[tuple[str, str]]:
    """A picture of each clinical field but age."""
    drawn = []
    for field in cohort.schema.fields:
        if field.name == cohort.schema.age_field:
            continue
        if field.kind == "number":
            values = numbers_of(cohort.exams, field.name)
            picture = draw_histogram([("", values)], title=field.name, unit=field.unit or "count")
        else:
            counted = [
                (name, float(sum(exam.values.get(field.name) == name for exam in cohort.exams)))
                for name in field.categories
            ]
            picture = draw_bars(counted, title=field.name)
        drawn.append((field.name.replace("_", " "), picture))
    return drawn


def by_lot(film: StoredFilm) -> tuple[object, ...]:
    """The order of keyed names, which is as good as drawing lots."""
    return (film.film,)


def by_confidence(film: StoredFilm) -> tuple[object, ...]:
    """Those first whose anatomy was found with least confidence."""
    return film.framing.confidence, film.film


def _contact_sheet(
    cohort: Cohort, order: Callable[[StoredFilm], tuple[object, ...]]
) -> list[SheetFilm]:
    """Thirty films whole, what the model sees of them, and how sure that is."""
    films = sorted((film for exam in cohort.exams for film in exam.films), key=order)
    with_landmark = {view.name for view in cohort.schema.views if view.anatomy}
    shown = []
    for film in films[:SHEET_FILMS]:
        image = np.asarray(cohort.images[film.image])
        side = {"L": "left", "R": "right, mirrored", "B": "both"}.get(
            film.laterality or "", "side unknown"
        )
        sure = f"{film.framing.confidence:.0%} sure, {film.framing.exposed:.0%} of the film exposed"
        caption = f"{film.film[:8]} · {side} · {sure}"
        whole = _draw_whole(cohort, film, has_landmark=film.view in with_landmark)
        shown.append(SheetFilm(seen=png_uri(image), whole=whole, caption=caption))
    return shown


def _draw_whole(cohort: Cohort, film: StoredFilm, *, has_landmark: bool) -> str:
    """The whole film with the window on it; empty for a cohort that keeps none."""
    if not len(cohort.overviews) or not film.framing.shape:
        return ""
    grey = np.asarray(cohort.overviews[film.image]) / np.float32(255)
    height, width = film.framing.shape
    return draw_window(
        png_uri(grey),
        shape=(height, width),
        pixel=film.pixel_mm or (1.0, 1.0),
        window=film.framing.window,
        has_landmark=has_landmark,
    )
