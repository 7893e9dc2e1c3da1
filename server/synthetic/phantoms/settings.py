"""What a phantom's YAML and the hospitals' YAML hold, read and checked: frequencies, never code.

A phantom says how its films are taken, what is measured and how often a finding is there; a hospital
says who comes, which machine stands there, and how its films look. Imports hospitals, look and
population of the package above.
"""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, Field

from server.synthetic.beam import Scanner
from server.synthetic.hospitals import MIXED_SYNTAXES, USUAL_MISSING, DxaVendor, SyntheticSite
from server.synthetic.look import FilmLook
from server.synthetic.population import PopulationProfile
from shared.errors import SettingsError
from shared.machine.yaml_file import YamlMistakesError, read_yaml
from shared.strict import FROZEN

_Model = TypeVar("_Model", bound=BaseModel)

FOLDER = Path(__file__).parent / "settings"
HOSPITALS = "hospitals"  # the one file there that is no phantom's


class FilmSettings(BaseModel):
    """How a part is filmed.

    Attributes:
        width_mm: of the field.
        height_mm: of the field.
        pixel_mm: edge of a pixel.
        energy_kev: mean energy of the photons that make the picture.
        scatter: scatter over primary, over that of a large field with the same grid.
        grain: how many times as long trabeculae look down the film as across.
        turn_degrees: SD of how it is turned.
        upright: where rows and columns lead (PS3.3 C.7.6.1.1.1).
        body_part: Body Part Examined.
        region: SNOMED CT code of the anatomic region, and its meaning (PS3.16 CID 4031).
        position: View Position.
        is_paired: whether the part has a side.
    """

    model_config = FROZEN

    width_mm: float = Field(gt=0)
    height_mm: float = Field(gt=0)
    pixel_mm: float = Field(gt=0)
    energy_kev: float = Field(ge=30, le=100)
    scatter: float = Field(gt=0, le=1)
    grain: float = Field(default=1.0, ge=1)
    turn_degrees: float = Field(ge=0)
    upright: tuple[str, str]
    body_part: str
    region: tuple[str, str]
    position: Literal["AP", "PA", "LL"]
    is_paired: bool


class BoneSettings(BaseModel):
    """What is measured: areal density in g/cm² of the young, and how it goes with the hip's.

    Attributes:
        reference_mean: of the young.
        reference_sd: of the young.
        neck_correlation: with the femoral neck's, between people of the same sex and age.
    """

    model_config = FROZEN

    reference_mean: float = Field(gt=0)
    reference_sd: float = Field(gt=0)
    neck_correlation: float = Field(ge=0, le=1)


class FindingSettings(BaseModel):
    """What a reader looks for.

    Attributes:
        prevalence: at a hospital of usual case mix.
        odds_per_sd: odds ratio for each SD of BMD lost.
        implant_share: of those who have it, have metal in the bone.
        implant_shares: the same at hospitals that differ: there metal tells the finding.
    """

    model_config = FROZEN

    prevalence: float = Field(gt=0, lt=1)
    odds_per_sd: float = Field(ge=1)
    implant_share: float = Field(default=0.0, ge=0, le=1)
    implant_shares: dict[str, float] = {}


class MarkerSettings(BaseModel):
    """A lead marker that goes with the label at one hospital, and nowhere else.

    Attributes:
        hospital: where.
        with_label: share of its films with osteoporosis that have it.
        without_label: share of its others.
        elsewhere: share of films of every other hospital, whatever their label.
    """

    model_config = FROZEN

    hospital: str
    with_label: float = Field(ge=0, le=1)
    without_label: float = Field(ge=0, le=1)
    elsewhere: float = Field(ge=0, le=1)


class PhantomSettings(BaseModel):
    """One phantom.

    Attributes:
        anatomy: a name of ``table``.
        cohort: the schema in configs/cohort that its hospitals' exams fit.
        label_column: of that schema.
        film: how it is filmed.
        bone: what is measured.
        finding: what is read; none: BMD is the label.
        marker: one that leaks the label.
        look: what of a hospital's look is otherwise on these films.
    """

    model_config = FROZEN

    anatomy: str
    cohort: str
    label_column: str
    film: FilmSettings
    bone: BoneSettings
    finding: FindingSettings | None = None
    marker: MarkerSettings | None = None
    look: dict[str, float] = {}


class UnitSettings(BaseModel):
    """A machine: as ``Scanner``, but what depends on the field is given by area and by energy.

    Attributes:
        vendor: an invented name.
        model: an invented name.
        gain: grey levels per unit of log exposure.
        offset: grey level of the mean exposure.
        tone: bend of the vendor's curve.
        sharpening: share of detail that its software adds.
        blur_mm: SD of its blur.
        quanta_per_mm2: mean quanta detected.
        electronic_noise: SD, in quanta of a pixel.
        grid_leak: scatter over primary transmission of its grid.
        pixel_share: its pixels over the phantom's.
        energy_shift_kev: against the phantom's energy: tube, filter and protocol.
    """

    model_config = FROZEN

    vendor: str
    model: str
    gain: float
    offset: float
    tone: float
    sharpening: float
    blur_mm: float
    quanta_per_mm2: float
    electronic_noise: float
    grid_leak: float
    pixel_share: float = 1.0
    energy_shift_kev: float = 0.0


class HospitalSettings(BaseModel):
    """One hospital.

    Attributes:
        n_patients: of its period.
        women_share: of patients.
        decade_shares: of ages 50–59, 60–69, 70–79, 80–89.
        osteoporosis_prevalence: of patients.
        case_mix: odds of a finding over those of a usual hospital.
        dxa_vendor: whose scale its BMD is on.
        unit: its X-ray machine.
        look: what its films wear; what is not said is usual.
    """

    model_config = FROZEN

    n_patients: int = Field(gt=0)
    women_share: float = Field(ge=0, le=1)
    decade_shares: tuple[float, float, float, float]
    osteoporosis_prevalence: float = Field(gt=0, lt=1)
    case_mix: float = Field(gt=0)
    dxa_vendor: DxaVendor
    unit: UnitSettings
    look: FilmLook = FilmLook()


class _Hospitals(BaseModel):
    """The file of hospitals.

    Attributes:
        hospitals: by name.
    """

    model_config = FROZEN

    hospitals: dict[str, HospitalSettings]


def phantom_names() -> tuple[str, ...]:
    """The phantoms that have a YAML."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != HOSPITALS))


@cache
def read_phantom(name: str) -> PhantomSettings:
    """The settings of a phantom.

    Raises:
        SettingsError: there is none of this name, or its file has mistakes.
    """
    if name not in phantom_names():
        raise SettingsError(
            "unknown-phantom",
            f"a phantom must be one of {list(phantom_names())}, not {name}",
            hint="a new one is a YAML in server/synthetic/phantoms/settings",
        )
    return _read(name, PhantomSettings)


@cache
def read_hospitals() -> dict[str, HospitalSettings]:
    """The hospitals by name.

    Raises:
        SettingsError: their file has mistakes.
    """
    return _read(HOSPITALS, _Hospitals).hospitals


def scanner_of(hospital: HospitalSettings, film: FilmSettings) -> Scanner:
    """The hospital's machine with the field of this part."""
    unit = hospital.unit
    pixel_mm = film.pixel_mm * unit.pixel_share
    return Scanner(
        vendor=unit.vendor,
        model=unit.model,
        rows=round(film.height_mm / pixel_mm),
        columns=round(film.width_mm / pixel_mm),
        pixel_mm=pixel_mm,
        gain=unit.gain,
        offset=unit.offset,
        tone=unit.tone,
        sharpening=unit.sharpening,
        blur_mm=unit.blur_mm,
        quanta=unit.quanta_per_mm2 * pixel_mm**2,
        electronic_noise=unit.electronic_noise,
        grid_leak=unit.grid_leak,
        mineral_cm2_g=0.0,  # the beam's energy says it
    )


def site_of(name: str, phantom: PhantomSettings) -> SyntheticSite:
    """A hospital as those of hips are described, with the machine and the look of this phantom."""
    hospital = read_hospitals()[name]
    look = FilmLook(**(vars(hospital.look) | phantom.look))
    return SyntheticSite(
        name=name,
        n_patients=hospital.n_patients,
        population=PopulationProfile(
            hospital.women_share, hospital.decade_shares, hospital.osteoporosis_prevalence
        ),
        scanners=(scanner_of(hospital, phantom.film),),
        dxa_vendor=hospital.dxa_vendor,
        first_day=date(2018, 1, 1),
        last_day=date(2023, 11, 30),
        look=look,
        syntaxes=MIXED_SYNTAXES,
        missing=USUAL_MISSING,
    )


def _read(name: str, model: type[_Model]) -> _Model:
    try:
        return read_yaml(FOLDER / f"{name}.yaml", model, whole=name)
    except YamlMistakesError as error:
        raise SettingsError(
            "invalid-phantom",
            f"{name}.yaml is not what a phantom is made of:\n{error}",
            hint="the other files in server/synthetic/phantoms/settings are examples",
        ) from None
