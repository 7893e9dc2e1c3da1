"""Survival of acute myeloid leukaemia with districts as hospitals: a published table, by one command.

``make leukaemia``. The table is LeukSurv (Henderson, Shimakura & Gorst 2002, JASA 97:965) as the
package SurvSet has it, under the GPL: it is fetched into an environment of its own, and nothing of it
is kept but the figures, in docs/data/leukaemia.json and the block in docs/how-to/own-disease.md.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.signing.code_hash import installed_code_hash

ROOT = Path(__file__).resolve().parents[2]
DATA, PAGE = ROOT / "docs" / "data" / "leukaemia.json", ROOT / "docs" / "how-to" / "own-disease.md"
BEGINS, ENDS = "<!-- written by make leukaemia -->", "<!-- end of what is written -->"
PACKAGE = "SurvSet==0.2.11"
WRITE = (
    "from SurvSet.data import SurvLoader; import sys; "
    "SurvLoader().load_dataset(ds_name='LeukSurv')['df'].to_csv(sys.stdout, index=False)"
)
# Districts from south to north fill hospitals up to so many patients; those further north are one that
# never trains.
HOSPITALS, LEAST, REST = 5, 120, "north"
ARMS = {"off": "privacy=off", "3": "privacy.epsilon=3"}
COHORT = """\
name: leukaemia
version: 1
patient_column: pid
date_column: null
fields:
  - {name: num_age, kind: number, unit: years, low: 14, high: 100, reference_mean: 60, reference_sd: 18}
  - {name: num_wbc, kind: number, low: 0, high: 500, reference_mean: 40, reference_sd: 70}
  - {name: num_tpi, kind: number, low: -10, high: 12, reference_mean: 0, reference_sd: 3.5}
  - {name: fac_sex, kind: category, categories: ["0", "1"]}
views: []
label:
  {kind: time_to_event, column: time, unit: days, status_column: event, event: [death, "1"],
   censored: [alive, "0"], edges: [30, 90, 180, 365], high: 6000, reference_risk: 0.6}
split: {train: 0.7, tune: 0.0, internal: 0.3}
"""


def fetch(folder: Path) -> list[dict[str, str]]:
    """Rows of the table, by a Python of its own in ``folder``."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", PACKAGE], check=True)
    written = subprocess.run([python, "-c", WRITE], check=True, capture_output=True, text=True)
    return list(csv.DictReader(io.StringIO(written.stdout)))


def divide(rows: list[dict[str, str]], folder: Path) -> dict[str, int]:
    """A table per hospital, each of whole districts; patients by hospital."""
    districts: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        districts.setdefault(row["fac_district"], []).append(row)
    northing = {
        name: sum(float(row["num_ycoord"]) for row in own) / len(own) for name, own in districts.items()
    }
    parts: list[list[dict[str, str]]] = [[]]
    for name in sorted(districts, key=lambda name: northing[name]):
        if len(parts[-1]) >= LEAST and len(parts) <= HOSPITALS:
            parts.append([])
        parts[-1] += districts[name]
    found = {f"hospital{number}": own for number, own in enumerate(parts[:-1], start=1)}
    found[REST] = parts[-1]
    for name, own in found.items():
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(own[0]))
            writer.writeheader()
            writer.writerows(own)
    return {name: len(own) for name, own in found.items()}


def measure() -> dict[str, Any]:
    """Patients by hospital, figures of each arm, and what the gates let out.

    Raises:
        CalledProcessError: a command failed.
        SystemExit: the program is not installed.
    """
    command = shutil.which("osteofed-coordinator", path=str(Path(sys.executable).parent))
    if command is None:
        raise SystemExit("osteofed-coordinator is not installed beside this Python")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        patients = divide(fetch(folder / "environment"), folder)
        (folder / "leukaemia.yaml").write_text(COHORT)
        training = [f"{name}={name}.csv" for name in patients if name != REST]
        asked = ["simulate", *training, "--external", f"{REST}={REST}.csv"]
        asked += ["--cohort", "leukaemia.yaml", "learner=proportional_hazards"]
        runs = {}
        for epsilon, setting in ARMS.items():
            words = [command, *asked, setting, "--folder", epsilon]
            subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            runs[epsilon] = _figures(folder / epsilon)
    return {
        "package": PACKAGE,
        "patients": patients,
        "runs": runs,
        "measured": datetime.now(UTC).date().isoformat(),
        "code_sha256": installed_code_hash(),
    }


def _figures(run: Path) -> dict[str, Any]:
    """C-index of arms trained on all, and of all alone the middle one; the gates' figures."""
    [division] = json.loads((run / "comparison.json").read_text())["divisions"]
    arms: dict[str, dict[str, list[float]]] = {}
    for row in division["figures"]:
        arms.setdefault(row["place"], {})[row["arm"]] = [row["value"], row["low"], row["high"]]
    further = json.loads((run / "report.json").read_text())["further"]
    gates = {
        name: [figure["value"], figure["low"], figure["high"]]
        for row in further
        if (row["stage"], row["site"]) == ("survival_external", REST)
        for name, figure in row["figures"].items()
        if figure["value"] is not None
    }
    return {"arms": arms, "gates": gates}


def block(measured: Mapping[str, Any]) -> str:
    """What the page says of it."""
    patients, runs = measured["patients"], measured["runs"]
    sites = len(patients) - 1
    lines = [
        f"Death of acute myeloid leukaemia within a year, by age, white cells, deprivation and sex "
        f"([LeukSurv](https://rdrr.io/cran/spBayesSurv/man/LeukSurv.html), {sum(patients.values()):,} "
        f"patients): neighbouring districts as {sites} hospitals, those further north, "
        f"of {patients[REST]} patients, as one that never trains, by "
        f"`simulate … learner=proportional_hazards`, {measured['measured']} (`make leukaemia`). "
        f"C-index with its 95 % interval:",
        "",
        "| at the hospital that never trained | without privacy | ε = 3 |",
        "|---|---|---|",
    ]
    for arm in ("federated", "pooled"):
        cells = [_cell(runs[epsilon]["arms"][REST][arm]) for epsilon in ARMS]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    alone = [_range(runs[epsilon]["arms"][REST]) for epsilon in ARMS]
    lines.append(f"| a hospital alone, least to most | {' | '.join(alone)} |")
    names = [name for name in runs["3"]["gates"] if not name.startswith("n, ")]
    for name in names:
        cells = [_cell(runs[epsilon]["gates"].get(name)) for epsilon in ARMS]
        lines.append(f"| {name}, through the gate | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(figure: list[float] | None) -> str:
    return "too noisy" if figure is None else "{:.2f} ({:.2f} to {:.2f})".format(*figure)


def _range(arms: Mapping[str, list[float]]) -> str:
    values = [figure[0] for arm, figure in arms.items() if arm.endswith(" alone")]
    return f"{min(values):.2f} to {max(values):.2f}"


def quoted(page: str, measured: Mapping[str, Any]) -> str:
    """The page with the block between its marks.

    Raises:
        ValueError: it has not the first mark once, and the other after it.
    """
    before, mark, rest = page.partition(BEGINS)
    if not mark or BEGINS in rest or ENDS not in rest:
        raise ValueError(f"the page must have {BEGINS} once, and {ENDS} after it")
    return f"{before}{BEGINS}\n{block(measured)}\n{ENDS}{rest.partition(ENDS)[2]}"


if __name__ == "__main__":
    found = measure()
    DATA.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(quoted(PAGE.read_text(), found))
    sys.stdout.write(block(found) + "\n")
