"""Take in damaged inputs for as long as one likes: ``python tests/intake/fuzz.py --minutes 10``.

A failure names the seed of its round; ``--seed`` makes that round again.
"""

from __future__ import annotations

import argparse
import io
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path

import yaml
from practice_fuzz import damaged_bundle, damaged_csv, damaged_film, damaged_parquet, seeds
from practice_intake import LOSSY, PROFILE, PSEUDONYMS, check_sums, counts_of, make_hospital, take_in
from pydicom import dcmread
from test_tables import PROFILE as FHIR_PROFILE
from test_tables import RESOURCES

from client.cohort.quarantine import CODES
from client.intake.clinical import interpret_rows
from client.intake.films import REPEATED_UID
from client.intake.inputs import film_files
from client.intake.refusal import read_refused
from client.intake.sources.tables import file_table
from shared.errors import IntakeError

SYNTAXES = ("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80")


def base_films(hospital: Path) -> list[bytes]:
    """Sound films in native and compressed syntaxes."""
    found = [film.path.read_bytes() for film in film_files(hospital / "films")][:6]
    native = next(data for data in found if b"1.2.840.10008.1.2.1\0" in data[:400])
    for syntax in SYNTAXES:
        film = dcmread(io.BytesIO(native))
        film.compress(syntax, generate_instance_uid=False)
        stream = io.BytesIO()
        film.save_as(stream)
        found.append(stream.getvalue())
    return found


def films_round(hospital: Path, folder: Path, seed: int, n: int, more: list[Path]) -> Counter[str]:
    """Damage ``n`` films among the sound ones, take all in, and hold the intake to its sums."""
    source = folder / "source"
    shutil.copytree(hospital, source)
    bases = base_films(hospital)
    for number, rng in enumerate(seeds(seed, n)):
        data = damaged_film(bases[int(rng.integers(len(bases)))], rng)
        (source / "films" / f"odd-{number:05d}.dcm").write_bytes(data)
    for number, path in enumerate(more):
        shutil.copyfile(path, source / "films" / f"more-{number:05d}{path.suffix}")
    profile = PROFILE.model_copy(update={"issuer": "BIRCH-HOSPITAL"})
    try:
        take_in(source, folder / "refused", profile=profile, workers=2)
    except IntakeError as error:
        if error.code != REPEATED_UID:
            raise
    n_repeated = _take_out_repeated(source / "films", folder / "refused" / "cohorts" / LOSSY.name)
    n_files = len(list((source / "films").iterdir()))
    report = take_in(source, folder / "site", profile=profile, workers=2)
    check_sums(report)
    if report.n_films_read != n_files:
        raise AssertionError(f"{report.n_films_read} of {n_files} files are accounted for")
    unknown = {code for _, code in counts_of(report)} - set(CODES)
    if unknown:
        raise AssertionError(f"unknown codes {unknown}")
    found = Counter({code: n for (kind, code), n in counts_of(report).items() if kind == "film"})
    return found + Counter({"used": report.n_films_used, REPEATED_UID: n_repeated})


def _take_out_repeated(films: Path, refused: Path) -> int:
    """Take odd films away that bear the UID of another one, as a person would; how many they were."""
    told = read_refused(refused)
    named = {entry.item for entry in told.quarantined if entry.code == REPEATED_UID} if told else set()
    repeated = [
        film.path
        for film in film_files(films)
        if film.path.name.startswith(("odd-", "more-"))
        and PSEUDONYMS.item_key("film", film.place) in named
    ]
    for path in repeated:
        path.unlink()
    return len(repeated)


def tables_round(hospital: Path, folder: Path, seed: int, n: int) -> Counter[str]:
    """Damage ``n`` tables of each kind; each is refused with a code, or its rows add up."""
    text = (hospital / "clinical.csv").read_text(encoding="utf-8-sig")
    bundle = {"resourceType": "Bundle", "entry": [{"resource": one} for one in RESOURCES]}
    outcomes: Counter[str] = Counter()
    for rng in seeds(seed, n):
        for name, data, profile in (
            ("t.csv", damaged_csv(text, rng), PROFILE),
            ("t.parquet", damaged_parquet(text, rng), PROFILE),
            ("t.json", damaged_bundle(bundle, rng), FHIR_PROFILE),
        ):
            (folder / name).write_bytes(data)
            outcomes[_outcome(folder / name, profile)] += 1
    return outcomes


def _outcome(path: Path, profile: object) -> str:
    try:
        raw = file_table(path, LOSSY, profile)
        table = interpret_rows(
            raw.header, raw.rows, schema=LOSSY, profile=profile, today=date(2024, 1, 1)
        )
    except IntakeError as error:
        return error.code
    lost = [entry for entry in table.quarantined if entry.kind == "row"]
    if table.n_rows != len(raw.rows) or len(table.rows) + len(lost) != table.n_rows:
        raise AssertionError(f"{len(table.rows)} + {len(lost)} rows of {table.n_rows}")
    unknown = {entry.code for entry in table.quarantined} - set(CODES)
    if unknown:
        raise AssertionError(f"unknown codes {unknown}")
    return "read"


def main() -> None:
    """Rounds of new seeds until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    end, seed = time.monotonic() + 60 * options.minutes, options.seed or 1000
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as home:
        make_hospital(Path(home) / "hospital", 6)
        while time.monotonic() < end:
            sys.stderr.write(f"seed {seed}\n")
            with tempfile.TemporaryDirectory(dir=home) as folder:
                outcomes += films_round(Path(home) / "hospital", Path(folder), seed, 300, [])
                outcomes += tables_round(Path(home) / "hospital", Path(folder), seed, 100)
            if options.seed:
                break
            seed += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {"inputs": outcomes.total(), "peak_mib": round(peak), "outcomes": dict(outcomes)}
    sys.stdout.write(yaml.safe_dump(facts, sort_keys=False))


if __name__ == "__main__":
    main()
