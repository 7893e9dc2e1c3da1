"""``cohort-schema.md``: the YAML that says what an exam is, from its model and the shipped files."""

from __future__ import annotations

from reference.fields import linked, section
from reference.markdown import code, fenced, page, table
from reference.settings import comment_of, options_of

from shared.exam import schema

_KINDS = (
    schema.CohortSchema,
    schema.NumberField,
    schema.CategoryField,
    schema.ViewRule,
    schema.CropRule,
    schema.BmdLabel,
    schema.ClassLabel,
    schema.NumberLabel,
    schema.SplitRule,
)
_INTRODUCTION = (
    "A cohort schema is a YAML file: a new disease needs a new file and no code. Hospitals name it in "
    "`osteofed-site ingest --schema FILE`, the coordinator in `osteofed-coordinator plan RUN --cohort "
    "FILE` or `simulate --cohort FILE`; a plan carries it by value. Everything in it is public: means "
    "and ranges come from the literature, never from a cohort. What a hospital calls differently is in "
    "its [site.yaml](site.md)."
)


def cohort_schema_page() -> str:
    """The page."""
    files = options_of("cohort")
    rows = [
        (f"[{code(name)}](../../configs/cohort/{path.name})", comment_of(path))
        for name, path in files.items()
    ]
    lines = [line for kind in _KINDS for line in section(kind)]
    shipped = ["## Shipped", *table(("schema", "what it is"), rows)]
    shown = [(f"## {name}", *fenced(path.read_text(), "yaml")) for name, path in files.items()]
    return page("Cohort schemas", _INTRODUCTION, shipped, linked(lines, _KINDS), *shown)
