"""The synthetic sites as data: who comes, which machines stand there, and how messy the records are.

A ``SyntheticSite`` is complete by itself: with a seed it fixes every film and every row. The demo
federation has three training sites of clearly different size, scanner and DXA vendor, and one site
that never trains. Imports beam, look and population of this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from server.synthetic.beam import Scanner
from server.synthetic.look import FilmLook
from server.synthetic.population import PopulationProfile
from shared.errors import SettingsError

DxaVendor = Literal["hologic", "lunar", "norland"]
Syntax = Literal["implicit", "explicit", "rle", "jpeg_lossless", "jpeg_ls", "jpeg_2000"]


USUAL_LOOK = FilmLook()


@dataclass(frozen=True)
class Missingness:
    """Share of empty cells of a field: for everybody, and in addition above 75 years."""

    field: str
    share: float
    share_above_75: float = 0.0


@dataclass(frozen=True)
class Defects:
    """How many patients carry each defect; every defect has its own patients."""

    truncated_films: int = 0
    garbled_films: int = 0
    not_dicom: int = 0
    burned_in: int = 0
    wrong_view: int = 0
    duplicate_films: int = 0
    films_without_row: int = 0
    rows_without_film: int = 0
    duplicate_rows: int = 0
    missing_required: int = 0
    missing_label: int = 0
    unknown_unit: int = 0
    value_out_of_range: int = 0
    bmd_in_mg: int = 0
    under_age: int = 0


# Defect → the code under which an intake must report it.
DEFECT_CODES = {
    "truncated_films": "intake.unreadable-dicom",
    "garbled_films": "intake.unreadable-dicom",
    "not_dicom": "intake.not-dicom",
    "burned_in": "intake.burned-in-annotation",
    "wrong_view": "intake.wrong-view",
    "duplicate_films": "intake.duplicate-film",
    "films_without_row": "intake.unknown-patient",
    "rows_without_film": "intake.missing-film",
    "duplicate_rows": "intake.duplicate-exam",
    "missing_required": "intake.missing-required-field",
    "missing_label": "intake.missing-label",
    "unknown_unit": "intake.unknown-unit",
    "value_out_of_range": "intake.out-of-range",
    "bmd_in_mg": "intake.out-of-range",
    "under_age": "intake.under-age",
}


@dataclass(frozen=True)
class SyntheticSite:
    """One hospital.

    Shares are of films, rows or patients, 0 to 1. ``dxa_precision``: SD of one DXA measurement over
    its value. ``bone_offset``: log of how much thicker this population's cortex is at equal BMD.
    ``wide_share``: films of more than one hip; ``look``: what its films wear. ``pounds_share`` and
    ``metres_share``: rows whose unit column says lb and m. ``followed_until``: the day up to which the
    hospital knows of hip fractures and deaths; None: it has not asked, and its table says nothing of
    them. ``fracture_hazard_ratio``: of its patients for what their records do not say, such as falls.
    """

    name: str
    n_patients: int
    population: PopulationProfile
    scanners: tuple[Scanner, ...]
    dxa_vendor: DxaVendor
    first_day: date
    last_day: date
    dxa_precision: float = 0.015
    bone_offset: float = 0.0
    both_hips_share: float = 0.45
    repeat_share: float = 0.20
    wide_share: float = 0.33
    for_processing_share: float = 0.15
    legacy_share: float = 0.10
    look: FilmLook = USUAL_LOOK
    syntaxes: tuple[tuple[Syntax, float], ...] = (("explicit", 1.0),)
    missing: tuple[Missingness, ...] = ()
    pounds_share: float = 0.0
    metres_share: float = 0.0
    separator: Literal[",", ";"] = ","
    decimal: Literal[".", ","] = "."
    defects: Defects = Defects()
    followed_until: date | None = None
    fracture_hazard_ratio: float = 1.0


MIXED_SYNTAXES: tuple[tuple[Syntax, float], ...] = (
    ("explicit", 0.30),
    ("implicit", 0.15),
    ("rle", 0.15),
    ("jpeg_lossless", 0.15),
    ("jpeg_ls", 0.15),
    ("jpeg_2000", 0.10),
)
USUAL_MISSING = (
    Missingness("height", 0.03),
    Missingness("weight", 0.03),
    Missingness("bmi", 0.05),
    Missingness("alcohol", 0.12, 0.10),
    Missingness("activity", 0.15, 0.15),
    Missingness("smoking", 0.06),
    Missingness("prior_fracture", 0.05),
)

ASTER_UNIT = Scanner(
    vendor="Aurelia Imaging",
    model="Clarity 2",
    rows=150,
    columns=144,
    pixel_mm=0.95,
    gain=620.0,
    offset=1850.0,
    tone=0.08,
    sharpening=0.10,
    blur_mm=0.85,
    quanta=2600.0,
    electronic_noise=8.0,
    grid_leak=0.24,
    mineral_cm2_g=0.57,
)
BIRCH_UNIT = Scanner(
    vendor="Borealis Medical",
    model="DR-90",
    rows=160,
    columns=150,
    pixel_mm=0.90,
    gain=820.0,
    offset=2050.0,
    tone=-0.06,
    sharpening=0.30,
    blur_mm=0.60,
    quanta=5200.0,
    electronic_noise=5.0,
    grid_leak=0.18,
    mineral_cm2_g=0.61,
)
BIRCH_OLD_UNIT = Scanner(
    vendor="Borealis Medical",
    model="CR-40",
    rows=144,
    columns=144,
    pixel_mm=0.98,
    gain=700.0,
    offset=1900.0,
    tone=0.12,
    sharpening=0.0,
    blur_mm=1.00,
    quanta=2000.0,
    electronic_noise=10.0,
    grid_leak=0.26,
    mineral_cm2_g=0.56,
)
CEDAR_UNIT = Scanner(
    vendor="Corvus Systems",
    model="Vista",
    rows=160,
    columns=160,
    pixel_mm=0.88,
    gain=900.0,
    offset=2200.0,
    tone=0.0,
    sharpening=0.20,
    blur_mm=0.50,
    quanta=7000.0,
    electronic_noise=4.0,
    grid_leak=0.16,
    mineral_cm2_g=0.63,
)
DUNE_UNIT = Scanner(
    vendor="Delphinus Health",
    model="Ray One",
    rows=150,
    columns=160,
    pixel_mm=0.93,
    gain=560.0,
    offset=1750.0,
    tone=0.16,
    sharpening=0.45,
    blur_mm=0.95,
    quanta=3200.0,
    electronic_noise=9.0,
    grid_leak=0.27,
    mineral_cm2_g=0.54,
)

ASTER = SyntheticSite(
    name="aster",
    n_patients=151,
    population=PopulationProfile(0.86, (0.09, 0.38, 0.43, 0.10), 0.28),
    scanners=(ASTER_UNIT,),
    dxa_vendor="hologic",
    first_day=date(2019, 2, 1),
    last_day=date(2023, 11, 30),
    bone_offset=0.02,
    syntaxes=MIXED_SYNTAXES,
    missing=USUAL_MISSING,
    defects=Defects(
        truncated_films=1,
        garbled_films=1,
        not_dicom=1,
        burned_in=1,
        wrong_view=1,
        duplicate_films=1,
        films_without_row=1,
        rows_without_film=1,
        duplicate_rows=1,
        missing_required=1,
        missing_label=1,
        unknown_unit=1,
        value_out_of_range=2,
        bmd_in_mg=1,
        under_age=1,
    ),
)
BIRCH = SyntheticSite(
    name="birch",
    n_patients=301,
    population=PopulationProfile(0.84, (0.11, 0.42, 0.37, 0.10), 0.24),
    scanners=(BIRCH_UNIT, BIRCH_OLD_UNIT),
    dxa_vendor="lunar",
    first_day=date(2018, 6, 1),
    last_day=date(2023, 11, 30),
    bone_offset=-0.02,
    both_hips_share=0.55,
    # an old machine and its plates: fewer bits, wider borders, less told
    look=FilmLook(
        monochrome1=0.40,
        border=0.40,
        border_told=0.20,
        no_view=0.30,
        no_spacing=0.08,
        bits=((10, 0.25), (12, 0.75)),
    ),
    syntaxes=MIXED_SYNTAXES,
    missing=USUAL_MISSING,
    pounds_share=0.08,
    metres_share=0.06,
    separator=";",
    decimal=",",
    defects=Defects(
        truncated_films=2,
        garbled_films=1,
        not_dicom=1,
        burned_in=2,
        wrong_view=2,
        duplicate_films=2,
        films_without_row=2,
        rows_without_film=2,
        duplicate_rows=3,
        missing_required=2,
        missing_label=3,
        unknown_unit=2,
        value_out_of_range=3,
        bmd_in_mg=1,
        under_age=2,
    ),
)
CEDAR = SyntheticSite(
    name="cedar",
    n_patients=600,
    population=PopulationProfile(0.85, (0.10, 0.42, 0.38, 0.10), 0.22),
    scanners=(CEDAR_UNIT,),
    dxa_vendor="norland",
    first_day=date(2018, 1, 1),
    last_day=date(2023, 11, 30),
    both_hips_share=0.40,
    wide_share=0.25,
    # flat panels: more bits, more shutters, most of it told
    look=FilmLook(
        monochrome1=0.10,
        border=0.20,
        border_told=0.70,
        shutter=0.12,
        shutter_told=0.95,
        no_view=0.10,
        no_spacing=0.02,
        bits=((12, 0.30), (14, 0.40), (15, 0.05), (16, 0.25)),
    ),
    for_processing_share=0.30,
    syntaxes=MIXED_SYNTAXES,
    missing=USUAL_MISSING,
    pounds_share=0.15,
    defects=Defects(
        truncated_films=3,
        garbled_films=2,
        not_dicom=2,
        burned_in=4,
        wrong_view=4,
        duplicate_films=3,
        films_without_row=4,
        rows_without_film=4,
        duplicate_rows=5,
        missing_required=3,
        missing_label=6,
        unknown_unit=3,
        value_out_of_range=5,
        bmd_in_mg=2,
        under_age=3,
    ),
)
DUNE = SyntheticSite(
    name="dune",
    n_patients=320,
    population=PopulationProfile(0.82, (0.13, 0.41, 0.36, 0.10), 0.26),
    scanners=(DUNE_UNIT,),
    dxa_vendor="hologic",
    first_day=date(2019, 1, 1),
    last_day=date(2023, 11, 30),
    dxa_precision=0.018,
    bone_offset=0.05,
    wide_share=0.45,
    # another country's habits: more letters and words, more films turned or on a canvas
    look=FilmLook(
        border=0.35, marker=0.85, word=0.05, canvas=0.06, turned=0.05, flipped=0.03, linear=0.05
    ),
    syntaxes=MIXED_SYNTAXES,
    missing=USUAL_MISSING,
    metres_share=0.10,
    defects=Defects(
        truncated_films=2,
        garbled_films=1,
        not_dicom=1,
        burned_in=2,
        wrong_view=2,
        duplicate_films=1,
        films_without_row=2,
        rows_without_film=2,
        duplicate_rows=2,
        missing_required=1,
        missing_label=2,
        unknown_unit=1,
        value_out_of_range=2,
        bmd_in_mg=1,
        under_age=1,
    ),
)

TRAINING_SITES = (ASTER, BIRCH, CEDAR)
EXTERNAL_SITE = DUNE
DEMO_SITES = (*TRAINING_SITES, EXTERNAL_SITE)


def find_site(name: str) -> SyntheticSite:
    """The demo site of this name.

    Raises:
        SettingsError: there is none.
    """
    for site in DEMO_SITES:
        if site.name == name:
            return site
    raise SettingsError(
        "unknown-synthetic-site",
        f"the synthetic site must be one of {[site.name for site in DEMO_SITES]}, not {name}",
    )


def intake_profile(site: SyntheticSite) -> dict[str, object]:
    """What this hospital's data manager declares about table and DXA scanner before an intake."""
    return {
        "separator": site.separator,
        "decimal": site.decimal,
        "dxa_vendor": site.dxa_vendor,
        "dxa_skeletal_site": "femoral_neck",
        "issuer": f"{site.name.upper()}-HOSPITAL",
    }
