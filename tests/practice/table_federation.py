"""Four sites with a table each (scikit-learn's breast cytology), founded up to the approved plan."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import yaml
from practice_intake import ingest_with
from sklearn.datasets import load_breast_cancer

from client.site.folder import create_site, join_federation, open_site
from client.site.profile import SiteProfile
from server.federation.compose import CONFIGS, compose_settings
from server.federation.folder import create_home, enrol
from server.federation.plan import draft_plan, save_plan
from server.run.folder import RunStore
from server.run.prepare import prepare
from shared.contract.settings import Settings

HERE = Path(__file__).parent / "other_disease"
NOW = datetime(2026, 1, 5, tzinfo=UTC)
WORST_RADIUS = 20  # place of the table's column


def write_table(path: Path, rows: Sequence[int], *, word_of: Mapping[int, str] | None = None) -> None:
    """Rows of the bundled table as a hospital's CSV; ``word_of`` spells the two classes."""
    data = load_breast_cancer()
    words = word_of or {1: "B", 0: "malignant"}
    columns = [name.removeprefix("mean ").replace(" ", "_") for name in data.feature_names[:10]]
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["patient_id", "exam_date", *columns, "worst_radius", "diagnosis"])
        for row in rows:
            values = [f"{value:.6g}" for value in (*data.data[row, :10], data.data[row, WORST_RADIUS])]
            writer.writerow([f"P{row:05d}", "2020-03-01", *values, words[int(data.target[row])]])


def table_settings(
    folder: Path, overrides: Sequence[str] = (), *, experiment: str = "breast_cytology"
) -> Settings:
    """What a federation over tables in ``folder`` asks of a run."""
    asked = [f"experiment={experiment}", "federation.poll_s=0.01", *overrides]
    return compose_settings(asked, configs=folder / "configs")


def add_number(configs: Path) -> None:
    """The experiment ``nuclear_size``: the same tables with a number to predict."""
    cohort = yaml.safe_load((HERE / "cohort.yaml").read_text())
    label = {"kind": "number", "column": "worst_radius", "unit": "pixels", "low": 0, "high": 100}
    changed = cohort | {"name": "nuclear_size", "label": label}
    (configs / "cohort" / "nuclear_size.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
    shutil.copy(HERE / "experiment_number.yaml", configs / "experiment" / "nuclear_size.yaml")


def found_tables(
    folder: Path,
    archives: Mapping[str, Path],
    *,
    external: Sequence[str],
    overrides: Sequence[str] = (),
    policy: Mapping[str, object] | None = None,
    experiment: str = "breast_cytology",
    declared_patients: int = 100,
    optional: Sequence[str] = (),
) -> tuple[RunStore, dict[str, Path]]:
    """A federation over tables, by adding two YAML files to the shipped ones.

    ``policy``: what of every site's policy is other than the template; ``optional``: sites that are not
    required.
    """
    configs = folder / "configs"
    shutil.copytree(CONFIGS, configs)
    shutil.copy(HERE / "cohort.yaml", configs / "cohort" / "breast_cytology.yaml")
    shutil.copy(HERE / "experiment.yaml", configs / "experiment" / "breast_cytology.yaml")
    add_number(configs)
    settings = table_settings(folder, overrides, experiment=experiment)
    home = create_home(folder / "coordinator")
    folders = {}
    for name, archive in archives.items():
        own = folder / "sites" / name
        request = create_site(
            own, name=name, declared_patients=declared_patients, profile=SiteProfile()
        )
        role = "external" if name in external else "training"
        answer = enrol(home, request, role=role, is_required=name not in optional, now=NOW)
        site = join_federation(own, answer)
        report = ingest_with(
            archive,
            store=site.cohorts,
            schema=settings.cohort,
            profile=site.settings.profile,
            pseudonyms=site.pseudonyms,
            linkage=site.linkage,
            clock=lambda: NOW,
        )
        if report.n_rows_used != report.n_rows_read:
            raise ValueError(f"{name}: rows were lost")
        allowed = yaml.safe_load((own / "policy.yaml").read_text()) | (policy or {})
        (own / "policy.yaml").write_text(yaml.safe_dump(allowed))
        folders[name] = own
    key = home.key().public_hex
    plan = draft_plan(settings, home.active_sites(), run="cytology", coordinator_key=key, now=NOW)
    save_plan(home, plan)
    for own in folders.values():
        approvals = open_site(own).approvals
        read = approvals.import_plan(home.run_folder("cytology") / "plan.json")
        approvals.decide(read, "approved", by="Grace Hopper", now=NOW)
    return prepare(home, "cytology"), folders
