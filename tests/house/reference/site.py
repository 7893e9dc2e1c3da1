"""``site.md``: what a hospital says of its table, films and scanner, from the model of site.yaml."""

from __future__ import annotations

import tempfile
from pathlib import Path

from reference.fields import linked, section
from reference.markdown import code, fenced, page, table

from client.intake.film_vocabulary import BODY_PARTS, POSITIONS
from client.site.folder import SiteSettings, create_site
from client.site.profile import MISSING_TOKENS, FhirMapping, FilmWords, SiteProfile

_KINDS = (SiteSettings, SiteProfile, FilmWords, FhirMapping)
_INTRODUCTION = (
    "`site.yaml` lies in a site's folder. It says how the hospital's own table, films and DXA scanner "
    "are to be read, so that no code guesses. A profile never travels. `osteofed-site init` writes the "
    "file below; edit `profile` before the first `osteofed-site ingest`. In `osteofed-coordinator "
    "simulate`, `NAME.profile.yaml` beside a table holds the fields of a profile alone."
)


def site_page() -> str:
    """The page."""
    missing = ", ".join(code(word or "(empty)") for word in sorted(MISSING_TOKENS))
    lines = [line for kind in _KINDS for line in section(kind)]
    tokens = ["", '### What says "no value"', "", f"In any case: {missing}; and `missing_tokens`.", ""]
    words = [
        "### Words of films that are known anyway",
        *table(
            ("term", "words"),
            [(code(term), words) for each in (BODY_PARTS, POSITIONS) for term, words in each.items()],
        ),
        "",
        "Case, accents, dots and sides (`LHIP`, `HIP LT`) do not matter; Ä may be AE or A.",
        "",
    ]
    written = ["## As `init` writes it", *fenced(_written(), "yaml")]
    return page("site.yaml", _INTRODUCTION, linked(lines, _KINDS), tokens, words, written)


def _written() -> str:
    with tempfile.TemporaryDirectory() as folder:
        create_site(Path(folder), name="aster", declared_patients=110, profile=SiteProfile())
        return (Path(folder) / "site.yaml").read_text()
