"""``simulate``: a federation over one's own data in one call, from Python or from the command line.

All inputs are looked at before anything is written, and every mistake is told at once. Imports the
other files of this room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from server.federation.compose import cohort_file, compose_followed
from server.report.results import Results
from server.simulation.comparison import Comparison, Spread
from server.simulation.play import play
from server.simulation.record import inputs_of, require_same, write_record
from server.simulation.request import Request, Sources, pairs_of, values_of
from server.simulation.sources import Hospital, read_hospitals, repeated_patients
from shared.contract.settings import Settings
from shared.errors import OsteoFedError, SettingsError
from shared.exam.schema import CohortSchema, read_schema
from shared.machine.terminal import say
from shared.sums.estimate import Estimate, Measures

if TYPE_CHECKING:
    from pandas import DataFrame

# Of the settings, what a simulation is by definition.
_ALWAYS = ("is_simulated=true",)


@dataclass(frozen=True)
class Simulation:
    """What a simulation has found.

    Attributes:
        results: of the federation, as its report shows them.
        comparison: the arms beside each other, exactly.
        files: the pages and data that were written, by name.
    """

    results: Results
    comparison: Comparison
    files: dict[str, str]

    @property
    def arms(self) -> DataFrame:
        """division, place, arm, figure, value, low, high: a row per figure."""
        return _frame(
            {"division": each.number, **row.model_dump()}
            for each in self.comparison.divisions
            for row in each.figures
        )

    @property
    def differences(self) -> DataFrame:
        """division, place, against, figure, value, low, high: federated minus another arm, paired."""
        return _frame(
            {"division": each.number, **row.model_dump()}
            for each in self.comparison.divisions
            for row in each.differences
        )

    @property
    def spread(self) -> DataFrame:
        """place, arm, against, figure, mean, sd, n: over divisions; empty where there is one only."""
        rows = [row.model_dump() for row in self.comparison.spread()]
        return _frame(rows, columns=list(Spread.model_fields))

    @property
    def validation(self) -> DataFrame:
        """kind, site, figure, status, value, low, high: what the sites' gates let out."""
        return _frame(
            {"kind": row.kind, "site": row.site, "figure": name, **estimate}
            for row in self.results.validation
            if row.measures is not None
            for name, estimate in _estimates(row.measures)
        )


def simulate(
    sources: Sources | Path | str,
    *,
    cohort: Path | str | None = None,
    external: Sources | Sequence[str] = (),
    split_by: str | None = None,
    settings: Sequence[str] = (),
    configs: Path | str | None = None,
    folder: Path | str = "simulation",
    split_column: str | None = None,
    lock_date: date | str | None = None,
    repeats: int = 1,
    seed: int = 1,
) -> Simulation:
    """Simulate a federation of one's own hospitals on this machine; what was done before is kept.

    Args:
        sources: a table, or a folder with ``clinical.csv`` and ``films/``, of each hospital by name;
            or with ``split_by`` one table of all. Beside a table ``NAME.profile.yaml``, in a folder
            ``profile.yaml``, says how it is to be read (``client.site.profile``).
        cohort: a cohort schema's YAML file, or the name of one that is shipped.
        external: hospitals that never train, as ``sources``; or with ``split_by`` values of the column.
        split_by: a column whose values are the hospitals.
        settings: ``group=name`` or ``group.key=value``, as of a plan.
        configs: a folder with options of one's own, ``GROUP/NAME.yaml``, chosen as the shipped ones.
        folder: where everything is written; the same call goes on where it was cut off.
        split_column: a column of the tables that says who trains; left out, it is drawn.
        lock_date: patients who came after this day (``2021-06-30``) are measured prospectively.
        repeats: how many divisions of the patients are trained and measured.
        seed: draws the divisions, never noise.

    Raises:
        SettingsError: with every mistake in what was given; nothing is written.
        RunError: the folder holds something else, or a simulation of other inputs.
        OsteoFedError: what stopped a step, under its own code.

    Example:
        ``simulate({"north": "a.csv", "south": "b.csv"}, cohort="my.yaml",
        settings=["privacy.epsilon=1"]).arms.pivot_table("value", "arm", ["place", "figure"])``
    """
    problems: list[str] = []
    table = Path(sources) if isinstance(sources, Path | str) else None
    request = Request(
        training=() if isinstance(sources, Path | str) else pairs_of(sources),
        external=pairs_of(external),
        split_table=table,
        split_by=split_by,
        split_external=values_of(external),
        cohort=cohort,
        configs=None if configs is None else Path(configs),
        overrides=(*settings, *([f"cohort.split.column={split_column}"] if split_column else [])),
        lock_date=_day_of(lock_date, problems),
        seed=seed,
        repeats=repeats,
    )
    if (table is None) != (split_by is None):
        problems.append("split_by: must be given with one table, and not with several")
    return run_request(request, Path(folder), problems=problems)


def _day_of(lock_date: date | str | None, problems: list[str]) -> date | None:
    """The day; None, with the reason among the problems, where it is written otherwise."""
    if not isinstance(lock_date, str):
        return lock_date
    try:
        return date.fromisoformat(lock_date)
    except ValueError:
        problems.append(f"lock_date: must be a day as 2021-06-30, not {lock_date}")
        return None


def run_request(request: Request, folder: Path, *, problems: Sequence[str] = ()) -> Simulation:
    """Check a request as a whole, then play it; arguments and raises as of ``simulate``.

    Args:
        request: what was asked for.
        folder: where everything is written.
        problems: what of it was not understood before.
    """
    settings, hospitals = check(request, problems)
    inputs = inputs_of(hospitals, settings, seed=request.seed, lock_date=request.lock_date)
    require_same(folder, inputs)
    write_record(folder, inputs)
    played = play(
        folder,
        hospitals,
        settings,
        seed=request.seed,
        repeats=request.repeats,
        lock_date=request.lock_date,
    )
    return Simulation(played.results, played.comparison, played.files)


def check(request: Request, problems: Sequence[str] = ()) -> tuple[Settings, tuple[Hospital, ...]]:
    """The settings and the hospitals of a request, read; nothing is written.

    Raises:
        SettingsError: with every mistake, of the settings, the cohort and each hospital.
    """
    found = [f"  {problem}" for problem in problems]
    if request.repeats < 1:
        found.append(f"  repeats: must be 1 or more, not {request.repeats}")
    schema, settings = _schema(request, found), None
    if request.cohort is not None and schema is None:
        raise _not_valid(found)  # all else is held against the cohort
    made: tuple[str, ...] = ()
    alone: SettingsError | None = None  # the only mistake keeps its own code and hint
    try:
        settings, made = compose_followed(
            [*request.overrides, *_ALWAYS],
            cohort=request.cohort if schema else None,
            own=request.configs,
        )
    except SettingsError as error:
        alone = error if not found and len(error.fact.splitlines()) == 1 else None
        lines = error.fact.splitlines()
        found += lines[1:] or [f"  {error.fact}" + (f" (hint: {error.hint})" if error.hint else "")]
    schema = settings.cohort if settings else schema
    hospitals: tuple[Hospital, ...] = ()
    if schema is not None:
        hospitals, others = read_hospitals(request, schema, today=datetime.now(UTC).date())
        found += others
        found += _cohort_problems(request, schema)
    if alone is not None and len(found) == 1:
        raise alone
    if found or settings is None:
        raise _not_valid(found)
    n_repeated = repeated_patients(hospitals, settings.cohort) if request.split_table else 0
    if n_repeated:
        say(
            f"{n_repeated} patient numbers occur at several hospitals: each counts at every one of "
            "them, and may be held out at one and train at another, as in a real federation"
        )
    if made:
        say(f"settings that follow from the cohort's file: {' '.join(made)}")
    if settings.privacy.mode == "off" and settings.validation.release_class == "dp":
        say(
            "privacy=off: training has no noise; what the hospitals' gates let out (report.html) keeps "
            f"its own, ε = {settings.validation.epsilon:g} a table, unless you add "
            "validation.release_class=governed. The arms beside each other (comparison.html) are exact"
        )
    return settings, hospitals


def _schema(request: Request, found: list[str]) -> CohortSchema | None:
    """The cohort that was named; None, with the reason among the mistakes, where it cannot be read."""
    if request.cohort is None:
        return None
    try:
        return read_schema(cohort_file(request.cohort))
    except OsteoFedError as error:
        said, *lines = error.fact.splitlines()
        found += lines or [f"  {said} (hint: {error.hint})"]
        return None


def _cohort_problems(request: Request, schema: CohortSchema) -> list[str]:
    """What is asked for that the cohort's file does not hold."""
    has_external = bool(request.external or request.split_external)
    found = []
    if request.lock_date and schema.date_column is None:
        found.append("  lock_date: needs rows with a date, and the cohort has no date_column")
    if schema.split.column and request.repeats > 1:
        found.append(f"  repeats: must be 1, since column {schema.split.column} says who trains")
    if schema.split.internal == 0 and not has_external and not schema.split.column:
        found.append("  cohort.split.internal: must be above 0, or an external hospital be named")
    return found


def _not_valid(found: Sequence[str]) -> SettingsError:
    return SettingsError(
        "invalid-simulation",
        f"{len(found)} thing{'s' if len(found) > 1 else ''} must be put right:\n" + "\n".join(found),
        hint="nothing was written; docs/reference/cohort-schema.md says what a cohort's file holds, "
        "docs/reference/site.md what NAME.profile.yaml beside a table, or profile.yaml in a folder, "
        "says of its names and units",
    )


def _estimates(measures: Measures) -> list[tuple[str, dict[str, object]]]:
    named = vars(measures).items()
    return [(name, asdict(each)) for name, each in named if isinstance(each, Estimate)]


def _frame(rows: Iterable[Mapping[str, object]], *, columns: list[str] | None = None) -> DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=columns)
