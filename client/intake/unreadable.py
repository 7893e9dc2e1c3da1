"""Why an input cannot be read, in words: neither a Python error's name nor a value of a row.

Imports errors only.
"""

from __future__ import annotations

import codecs
import csv
from pathlib import Path

from shared.errors import IntakeError

FHIR_SUFFIXES = frozenset({".json", ".ndjson"})
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}


def table_problem(path: Path) -> str:
    """Why there is no table at a path; empty where there may be one: a file, or a folder of FHIR."""
    if path.is_dir():
        is_fhir = any(file.suffix.lower() in FHIR_SUFFIXES for file in path.iterdir())
        return "" if is_fhir else f"{path} is a folder; name the table in it, a .csv or .parquet file"
    return "" if path.exists() else f"there is no file {path}"


def films_problem(path: Path) -> str:
    """Why there are no films at a path; empty where there may be some: a folder, or a DICOMDIR."""
    return "" if path.exists() else f"there is no folder and no DICOMDIR {path}"


def unreadable_table(path: Path, error: Exception, *, encoding: str = "utf-8") -> IntakeError:
    """What kept a table from being read, as a refusal; arguments as of ``why_unreadable``."""
    reason, hint = why_unreadable(path, error, encoding=encoding)
    return IntakeError("unreadable-table", f"the clinical table {path.name} {reason}", hint=hint)


def why_unreadable(path: Path, error: Exception, *, encoding: str = "utf-8") -> tuple[str, str]:
    """What a file is that could not be read, and what to do about it.

    Args:
        path: of the file.
        error: what reading it has raised.
        encoding: in which it was read.
    """
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "is not there", "check the path"
        case IsADirectoryError():
            return "is a folder", "name the table in it, a .csv or .parquet file"
        case PermissionError():
            return "may not be read by this user", "ask its owner, or copy it to where it may be read"
        case UnicodeError():
            return (
                f"is not written in {encoding}",
                f"set encoding in the site profile: {_guess(path, encoding)}",
            )
        case csv.Error():
            return "is no CSV file", "export it as text, with one row per line"
    return (
        f"is damaged, or no {path.suffix.lstrip('.') or 'table'} file",
        "try the file with another program, or export it again",
    )


def _guess(path: Path, encoding: str) -> str:
    """Encodings that a table may be in, by how its file begins."""
    with path.open("rb") as stream:
        start = stream.read(3)
    found = [name for mark, name in _MARKS.items() if start.startswith(mark)]
    usual = [name for name in ("utf-8-sig", "cp1252", "latin-1") if name != encoding]
    return found[0] if found else f"perhaps {' or '.join(usual)}"
