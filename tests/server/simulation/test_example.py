"""Example tables: those of the synthetic hospitals, read whole by a simulation as they lie."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from server.federation.compose import cohort_file
from server.simulation.example import COHORT, write_example
from server.simulation.request import request_of
from server.simulation.sources import read_hospitals
from server.synthetic.hospitals import DEMO_SITES
from shared.exam.schema import BmdLabel, read_schema


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_example(tmp_path_factory.mktemp("example"))


def test_every_row_is_read_by_the_profile_beside_its_table(tables: dict[str, Path]) -> None:
    words = [f"{name}={path}" for name, path in tables.items()]
    request, problems = request_of(
        words[:-1], external=words[-1:], split_by=None, cohort=COHORT, seed=1, repeats=1
    )
    schema = read_schema(cohort_file(COHORT))
    hospitals, more = read_hospitals(request, schema, today=date(2026, 1, 1))
    assert [*problems, *more] == []
    found = {hospital.name: hospital.n_patients for hospital in hospitals}
    assert found == {site.name: site.n_patients for site in DEMO_SITES}
    profiles = {hospital.name: hospital.profile.dxa_vendor for hospital in hospitals}
    assert profiles["birch"] == "lunar"


def test_a_seed_draws_the_same_tables_and_another_seed_other_patients(
    tables: dict[str, Path], tmp_path: Path
) -> None:
    again, other = write_example(tmp_path / "again"), write_example(tmp_path / "other", seed=2)
    assert again["dune"].read_bytes() == tables["dune"].read_bytes()
    numbers = [
        {line.split(",")[0] for line in path.read_text().splitlines()[1:]}
        for path in (again["dune"], other["dune"])
    ]
    assert len(numbers[0]) == 320
    assert not numbers[0] & numbers[1]


def test_the_cohort_of_the_tables_is_that_of_the_demo_without_films() -> None:
    films, table = (yaml.safe_load(cohort_file(name).read_text()) for name in ("hip_bmd", COHORT))
    of_films = ("max_days_between_film_and_row", "image_pixels")
    assert table == {key: value for key, value in films.items() if key not in of_films} | {
        "name": COHORT,
        "views": [],
    }
    assert isinstance(read_schema(cohort_file(COHORT)).label, BmdLabel)
