"""A small hospital and one way to take it in, for the tests of this folder."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydicom import config, dcmread

from client.intake.ingest import Clock, IntakeReport, IntakeSite, ingest
from client.intake.inputs import Inputs
from client.site.linkage import Linkage, Pseudonyms
from client.site.profile import SiteProfile
from server.synthetic.folder import SyntheticTruth, write_hospital
from server.synthetic.hospitals import BIRCH, Defects
from shared.exam.schema import CohortSchema, read_schema

HIP = read_schema(Path(__file__).parents[2] / "configs" / "cohort" / "hip_bmd.yaml")
LOSSY = HIP.model_copy(update={"max_lost_fraction": 1.0})
PSEUDONYMS = Pseudonyms(b"\x07" * 32)
PROFILE = SiteProfile(dxa_vendor="lunar", dxa_skeletal_site="femoral_neck", separator=";", decimal=",")


def make_hospital(folder: Path, n_patients: int = 12, defects: Defects | None = None) -> SyntheticTruth:
    """Write films and table of a synthetic hospital."""
    return write_hospital(
        folder, replace(BIRCH, n_patients=n_patients, defects=defects or Defects()), 3
    )


def ingest_with(
    source: Inputs | Path,
    *,
    store: Path,
    profile: SiteProfile,
    pseudonyms: Pseudonyms,
    linkage: Linkage,
    clock: Clock,
    **options: object,
) -> IntakeReport:
    """Ingest at a site that is given by its parts."""
    at = IntakeSite(store=store, profile=profile, pseudonyms=pseudonyms, linkage=linkage, clock=clock)
    return ingest(source, at, **options)


def take_in(
    source: Inputs | Path, home: Path, schema: CohortSchema = LOSSY, **changes: object
) -> IntakeReport:
    """Ingest at a site whose folder is ``home``."""
    arguments = {
        "store": home / "cohorts",
        "schema": schema,
        "profile": PROFILE,
        "pseudonyms": PSEUDONYMS,
        "linkage": Linkage(home / "linkage" / "linkage.bin", PSEUDONYMS),
        "clock": lambda: datetime(2024, 6, 30, tzinfo=UTC),
    }
    return ingest_with(source, **(arguments | changes))


def rewrite(path: Path, **attributes: object) -> None:
    """Change attributes of a film; None deletes one."""
    with config.disable_value_validation():
        film = dcmread(path)
        for keyword, value in attributes.items():
            if value is None:
                film.pop(keyword, None)
            else:
                setattr(film, keyword, value)
        film.save_as(path)


def counts_of(report: IntakeReport) -> dict[tuple[str, str], int]:
    """n by kind and code."""
    return {(count.kind, count.code): count.n for count in report.counts}


def check_sums(report: IntakeReport) -> None:
    """Every film and row is used, or in quarantine once."""
    lost = {kind: 0 for kind in ("film", "row", "value", "link", "region")}
    for (kind, _), n in counts_of(report).items():
        lost[kind] += n
    assert report.n_films_used + lost["film"] == report.n_films_read
    assert report.n_rows_used + lost["row"] == report.n_rows_read
