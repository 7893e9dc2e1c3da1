"""What a simulation is asked for: tables or folders by hospital, a cohort, settings.

Words of a command line are told apart here: a setting, a hospital with its file, a table to be split.
Imports the settings' groups only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from server.federation.compose import CONFIGS
from shared.contract.settings import Settings
from shared.learners.refused import refusal_of
from shared.strict import nearest

Sources = Mapping[str, Path | str] | Sequence[tuple[str, Path | str]]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is simulated.

    Attributes:
        training: hospitals that train, by name: a table, or a folder with ``clinical.csv`` and films.
        external: hospitals that never train.
        split_table: one table that is split into hospitals by its column ``split_by``.
        split_external: values of that column, or the names made of them, that never train.
        cohort: a cohort schema's file, or the name of a shipped one; None: as the settings say.
        configs: a folder with options of one's own, as of ``compose_settings``.
        overrides: settings, as Hydra writes them.
        lock_date: who comes later is kept for a prospective validation, as if the release had been
            locked on that day; None: there is none.
        seed: draws who trains and who is held out; never noise.
        repeats: how many divisions of the patients are drawn.
    """

    training: tuple[tuple[str, Path], ...] = ()
    external: tuple[tuple[str, Path], ...] = ()
    split_table: Path | None = None
    split_by: str | None = None
    split_external: tuple[str, ...] = ()
    cohort: str | Path | None = None
    configs: Path | None = None
    overrides: tuple[str, ...] = ()
    lock_date: date | None = None
    seed: int = 1
    repeats: int = 1


def is_setting(word: str) -> bool:
    """Whether a word of a command line is a setting: its key is a group, has a dot, or is one alone."""
    key = word.partition("=")[0].lstrip("+~")
    return "=" in word and ("." in key or key in _setting_names())


def _setting_names() -> set[str]:
    return {folder.name for folder in CONFIGS.iterdir() if folder.is_dir()} | set(Settings.model_fields)


def _meant(word: str) -> str:
    """What a word that names no file may mean: a setting, or what cannot be private and why."""
    key, _, value = word.partition("=")
    is_plain = not Path(value).suffix and len(Path(value).parts) == 1 and not Path(value).exists()
    if not is_plain:
        return ""
    refusal = refusal_of(key)
    if refusal is not None:
        return f"; {refusal.fact} ({refusal.code}); {refusal.hint}"
    return nearest(key, _setting_names())


def request_of(
    words: Sequence[str],
    *,
    external: Sequence[str] = (),
    split_by: str | None = None,
    cohort: str | Path | None = None,
    configs: Path | None = None,
    lock_date: date | None = None,
    seed: int = 1,
    repeats: int = 1,
) -> tuple[Request, list[str]]:
    """A request from typed words, and what of them cannot be understood.

    Args:
        words: ``SITE=FILE``, a table to be split, and settings, in any order.
        external: ``SITE=FILE``, or with ``split_by`` a value of the column.
        split_by: a column.
        cohort: as in ``Request``.
        configs: as in ``Request``.
        lock_date: as in ``Request``.
        seed: as in ``Request``.
        repeats: as in ``Request``.
    """
    problems: list[str] = []
    settings = tuple(word for word in words if is_setting(word))
    others = [word for word in words if not is_setting(word)]
    misspelt = {word: guess for word in others if (guess := _meant(word))}
    problems += [f"{word}: is no setting and no hospital's file{misspelt[word]}" for word in misspelt]
    others = [word for word in others if word not in misspelt]
    tables = [word for word in others if "=" not in word]
    if split_by is None and tables:
        problems.append(f"{', '.join(tables)}: must be SITE=FILE, or one table beside --split-by")
    if split_by is not None and len(tables) != 1:
        problems.append(f"--split-by {split_by}: must have one table beside it, not {len(tables)}")
    values = tuple(word for word in external if "=" not in word)
    if split_by is None and values:
        problems.append(f"--external {', '.join(values)}: must be SITE=FILE")
    return (
        Request(
            training=_pairs(others),
            external=_pairs(external),
            split_table=Path(tables[0]) if split_by is not None and len(tables) == 1 else None,
            split_by=split_by,
            split_external=values if split_by is not None else (),
            cohort=cohort,
            configs=configs,
            overrides=settings,
            lock_date=lock_date,
            seed=seed,
            repeats=repeats,
        ),
        problems,
    )


def pairs_of(sources: Sources | Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """Hospitals and their files, in order; words without a file are left out."""
    items = sources.items() if isinstance(sources, Mapping) else sources
    return tuple((item[0], Path(item[1])) for item in items if not isinstance(item, str))


def values_of(external: Sources | Sequence[str]) -> tuple[str, ...]:
    """What is named without a file: values of the column that splits a table."""
    if isinstance(external, Mapping):
        return ()
    return tuple(item for item in external if isinstance(item, str))


def _pairs(words: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    split = (word.partition("=") for word in words if "=" in word)
    return tuple((name, Path(path)) for name, _, path in split)
