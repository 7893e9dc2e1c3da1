"""The table of phantoms: every anatomy has a YAML and a schema, and every YAML an anatomy."""

from pathlib import Path

from server.federation.compose import cohort_file
from server.synthetic.phantoms.settings import phantom_names, read_phantom
from server.synthetic.phantoms.table import ANATOMIES
from shared.exam.schema import read_schema

FOLDER = Path("server/synthetic/phantoms")


def test_every_anatomy_has_a_yaml_of_its_name_and_every_yaml_an_anatomy() -> None:
    assert set(ANATOMIES) <= set(phantom_names())
    assert {read_phantom(name).anatomy for name in phantom_names()} == set(ANATOMIES)
    for name, draw in ANATOMIES.items():
        assert draw.__module__.endswith(f".{name}")


def test_the_schema_of_a_phantom_takes_its_films_and_its_label() -> None:
    for name in phantom_names():
        phantom = read_phantom(name)
        schema = read_schema(cohort_file(phantom.cohort))
        (view,) = schema.views
        assert phantom.film.body_part in view.body_parts
        assert phantom.film.position in view.positions
        assert schema.label.column == phantom.label_column
        if schema.label.kind == "bmd":
            assert phantom.finding is None
            assert schema.label.reference_mean == phantom.bone.reference_mean
            assert schema.label.reference_sd == phantom.bone.reference_sd
        else:
            assert phantom.finding is not None
