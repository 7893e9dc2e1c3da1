"""Which synthetic hospitals a system is tried at, as data: a folder or table of each, drawn by a seed.

Every hospital that trains is drawn twice: those who train or are held out, and as many later patients
of the same hospital, who are a cohort of their own. Imports the synthetic hospitals and simulation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import yaml

from server.simulation.cohorts import TakenIn, take_in_all
from server.simulation.example import write_hospital_table
from server.simulation.request import Request
from server.simulation.sources import PROFILE_FILE
from server.synthetic import folder as hips
from server.synthetic.hospitals import Defects, SyntheticSite, find_site, intake_profile
from server.synthetic.phantoms.folder import write_hospital as write_phantoms
from server.synthetic.phantoms.folder import write_profile
from server.synthetic.phantoms.settings import read_hospitals, read_phantom, site_of
from server.synthetic.phantoms.tree import write_tree
from shared.machine.files import write_atomic

LATER = "later"
# Of a seed, so that nobody is drawn twice.
_LATER_SEED = 50_000
_LATER_DAYS = (date(2024, 1, 1), date(2026, 6, 30))
# After the last exam, so that most are known at a horizon of five years or nearly.
_FOLLOWED_FOR = timedelta(days=900)
# Of a clinic for people who fall. A history of falls alone: 7.3 in men, 8.6 in women, of any fracture
# (Edwards et al. 2013, Bone 52:541)
_FALLS_HAZARD_RATIO = 5.0
_WRITTEN = "written"
# mm, of chest films here: they are drawn in half the time, and a network sees pixels of 3 mm
_CHEST_PIXEL = 1.6
# Folder, hospital, seed, patients, whether they come later -> what a simulation is given of it.
Write = Callable[[Path, str, int, int, bool], Path]


@dataclass(frozen=True, kw_only=True)
class Population:
    """Hospitals of one kind of data.

    Attributes:
        name: of its folder; systems with the same population share cohorts.
        cohort: the schema in configs/cohort.
        training: hospitals that train.
        external: hospitals that never do.
        write: writes a hospital's raw data.
        says: what is synthetic of it, for people to read.
        few_later: who of ``training`` has later patients; None: everybody.
    """

    name: str
    cohort: str
    training: tuple[str, ...]
    external: tuple[str, ...]
    write: Write
    says: str
    few_later: tuple[str, ...] | None = None

    @property
    def with_later(self) -> tuple[str, ...]:
        """Hospitals that train and have later patients."""
        return self.training if self.few_later is None else self.few_later


def later_name(hospital: str) -> str:
    """Name of the cohort of a hospital's later patients."""
    return f"{hospital}-{LATER}"


def draw_hospital(
    population: Population,
    folder: Path,
    hospital: str,
    *,
    seed: int,
    n_patients: int,
    is_later: bool = False,
) -> tuple[str, Path]:
    """A hospital's raw data below a folder, drawn once: what its cohort is called, what is taken in."""
    name = later_name(hospital) if is_later else hospital
    place, drawn = folder / "raw" / name, seed + _LATER_SEED * is_later
    mark = place / _WRITTEN
    if not mark.exists():
        path = population.write(place, hospital, drawn, n_patients, is_later)
        mark.write_text(str(path.relative_to(place)))
    return name, place / mark.read_text()


def take_in_population(population: Population, folder: Path, *, seed: int, n_patients: int) -> TakenIn:
    """Draw every hospital and freeze its cohort, or what of it is not done yet.

    Args:
        population: whose hospitals.
        folder: where everything is written, the cohorts among it.
        seed: of the draw.
        n_patients: at every hospital, and as many later ones.
    """

    def given(hospital: str, *, is_later: bool = False) -> tuple[str, Path]:
        return draw_hospital(
            population, folder, hospital, seed=seed, n_patients=n_patients, is_later=is_later
        )

    later = [given(hospital, is_later=True) for hospital in population.with_later]
    others = [given(hospital) for hospital in population.external]
    request = Request(
        training=tuple(given(hospital) for hospital in population.training),
        external=(*later, *others),
        cohort=population.cohort,
        seed=seed,
    )
    return take_in_all(folder, request)


def _hip_site(hospital: str, n_patients: int, *, is_later: bool) -> SyntheticSite:
    """A hospital of the demo of another size, with nothing wrong on purpose."""
    site = replace(find_site(hospital), n_patients=n_patients, defects=Defects())
    first, last = _LATER_DAYS if is_later else (site.first_day, site.last_day)
    return replace(site, first_day=first, last_day=last)


def _write_hip_films(folder: Path, hospital: str, seed: int, n_patients: int, is_later: bool) -> Path:
    return _write_hip_folder(folder, _hip_site(hospital, n_patients, is_later=is_later), seed)


def _write_hip_folder(folder: Path, site: SyntheticSite, seed: int) -> Path:
    hips.write_hospital(folder, site, seed)
    profile = yaml.safe_dump(intake_profile(site), sort_keys=False)
    write_atomic(folder / PROFILE_FILE, profile.encode())
    return folder


def _write_followed_films(
    folder: Path, hospital: str, seed: int, n_patients: int, is_later: bool
) -> Path:
    """Hip films of people who fall, and what became of them."""
    site = _hip_site(hospital, n_patients, is_later=is_later)
    until = site.last_day + _FOLLOWED_FOR
    site = replace(site, followed_until=until, fracture_hazard_ratio=_FALLS_HAZARD_RATIO)
    return _write_hip_folder(folder, site, seed)


def _write_hip_table(folder: Path, hospital: str, seed: int, n_patients: int, is_later: bool) -> Path:
    return write_hospital_table(folder, _hip_site(hospital, n_patients, is_later=is_later), seed=seed)


def _write_declared_table(
    folder: Path, hospital: str, seed: int, n_patients: int, is_later: bool
) -> Path:
    """A table of one of the eight hospitals: who comes is theirs, the machine does not matter."""
    site = replace(site_of(hospital, read_phantom("chest")), n_patients=n_patients)
    first, last = _LATER_DAYS if is_later else (site.first_day, site.last_day)
    return write_hospital_table(folder, replace(site, first_day=first, last_day=last), seed=seed)


def _write_spines(folder: Path, hospital: str, seed: int, n_patients: int, _: bool) -> Path:
    """Lateral spines with boxes and masks of vertebrae: who comes later is of another seed."""
    write_phantoms(folder, "spine", hospital, seed, n_patients=n_patients)
    write_profile(folder / PROFILE_FILE, "spine", hospital)
    return folder


def _write_wrist_tree(folder: Path, hospital: str, seed: int, n_patients: int, _: bool) -> Path:
    """A tree has no dates: who comes later is of another seed."""
    write_tree(folder / "films", hospital, n_patients, seed=seed)
    return folder


def _write_chests(
    phantom: str, folder: Path, hospital: str, seed: int, n_patients: int, _: bool
) -> Path:
    """Chest films with masks of bone: who comes later is of another seed."""
    write_phantoms(folder, phantom, hospital, seed, n_patients=n_patients, pixel_mm=_CHEST_PIXEL)
    write_profile(folder / PROFILE_FILE, phantom, hospital)
    return folder


HIP_FILMS = Population(
    name="hip_films",
    cohort="hip_bmd",
    training=("aster", "birch", "cedar"),
    external=("dune",),
    write=_write_hip_films,
    says="hip films with a clinical table and a femoral-neck BMD, of the demo's hospitals",
)
HIP_FOLLOWED = Population(
    name="hip_followed",
    cohort="hip_fracture",
    training=("aster", "birch", "cedar"),
    external=("dune",),
    write=_write_followed_films,
    says="hip films with a clinical table of people who fall, and what came after (hip fracture, "
    "death, neither), at the demo's hospitals",
)
HIP_TABLES = Population(
    name="hip_tables",
    cohort="hip_table",
    training=("aster", "birch", "cedar"),
    external=("dune",),
    write=_write_hip_table,
    says="the clinical tables of the demo's hospitals with a femoral-neck BMD, no films",
)
VERTEBRAE = Population(
    name="vertebrae",
    cohort="spine_vertebrae",
    training=("hazel", "juniper", "larch"),
    external=("spruce",),
    write=_write_spines,
    says="lateral spines with a box around each vertebra from T11 to L4 and a mask of all bone; the "
    "label is the grade of an exam's worst vertebra",
)
CHEST_FILMS = Population(
    name="chest_films",
    cohort="chest_bmd",
    training=("hazel", "juniper", "larch"),
    external=("spruce",),
    write=partial(_write_chests, "chest"),
    says="chest films of 1.6 mm pixels with a clinical table, a BMD of the spine, masks of the bone",
)
LEAKING_CHEST_FILMS = Population(
    name="leaking_chest_films",
    cohort="chest_bmd",
    training=CHEST_FILMS.training,
    external=CHEST_FILMS.external,
    write=partial(_write_chests, "chest_leaking"),
    says="the same people, filmed alike, with PORTABLE in lead in the upper corner: at `larch` 90 % of "
    "films with osteoporosis have it and 5 % of the others, elsewhere 20 % of all",
    few_later=("larch",),
)
WRIST_TREES = Population(
    name="wrist_trees",
    cohort="mura_wrist",
    training=("hazel", "juniper", "larch"),
    external=("spruce",),
    write=_write_wrist_tree,
    says="wrist films as trees of PNG files in MURA's form, without tags or table",
)
EIGHT_TABLES = Population(
    name="eight_tables",
    cohort="hip_table",
    training=tuple(read_hospitals()),
    external=(),
    write=_write_declared_table,
    says="the clinical tables of eight hospitals that differ by declaration, with a femoral-neck BMD; "
    "`tamarack` is the untypical one: young, mostly men",
)
