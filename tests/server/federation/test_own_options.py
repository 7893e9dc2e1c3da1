"""Options of one's own: each file that cannot be one is named, with what is expected of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated_tables import NUMBER, write_cohort

from server.federation.compose import compose_followed, compose_settings
from server.federation.own_options import options_of
from shared.errors import SettingsError

WEAK = "endpoint: weak lungs\nendpoint_threshold: 2.5\notherwise: sound\n"


def write_own(folder: Path, **files: str) -> Path:
    """Files ``GROUP__NAME`` of a folder."""
    for place, text in files.items():
        group, _, name = place.partition("__")
        (folder / group).mkdir(parents=True, exist_ok=True)
        (folder / group / f"{name}.yaml").write_text(text)
    return folder


def mistakes(own: Path) -> str:
    """What is said of a folder that cannot be taken."""
    with pytest.raises(SettingsError) as caught:
        compose_settings([], own=own)
    assert caught.value.code == "settings.invalid-configs"
    return caught.value.fact


def test_every_file_of_ones_own_that_cannot_be_an_option_is_named_with_its_line(tmp_path: Path) -> None:
    own = write_own(
        tmp_path / "own", colours__red="a: 1\n", privacy__off="epsilon: 1\n", task__mine="a: [\n"
    )
    with pytest.raises(SettingsError) as caught:
        compose_settings([], own=own)
    assert caught.value.code == "settings.invalid-configs"
    for said in (
        "colours/red.yaml: must lie in a folder named as one of",
        "privacy/off.yaml: a privacy of that name comes with OsteoFed",
        "task/mine.yaml: line 2, column 1",
    ):
        assert said in caught.value.fact
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="holds no YAML file"):
        compose_settings([], own=tmp_path / "empty")


def test_a_misspelt_group_is_answered_by_the_nearest_and_another_suffix_is_named(
    tmp_path: Path,
) -> None:
    own = write_own(tmp_path, experment__a="a: 1\n")
    (own / "task").mkdir()
    (own / "task" / "lungs.yml").write_text(WEAK)
    (own / "task" / "notes.txt").write_text("to be read by people")
    said = mistakes(own)
    assert "experment/a.yaml: must lie in a folder named as one of" in said
    assert "; did you mean experiment?" in said
    assert "task/lungs.yml: its name must end in .yaml" in said
    assert "notes" not in said


def test_who_names_the_folder_of_a_group_is_sent_to_the_one_above(tmp_path: Path) -> None:
    own = write_own(tmp_path / "own", task__lungs=WEAK)
    assert f"lungs.yaml: name the folder above, {own.resolve()}" in mistakes(own / "task")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("experiment: mine\n", "its first line must be `# @package _global_`"),
        ("# @package _global_\nencoder: none\n", "as `- override /encoder: none`"),
        ("# @package _global_\n- encoder\n", "must hold settings as `name: value`"),
        ("# @package _global_\ndefaults: encoder\n", "defaults: must be a list"),
        (
            "# @package _global_\ndefaults: [7]\n",
            "defaults: must hold names, or `override /GROUP: NAME`",
        ),
        ("# @package _global_\ndefaults: [hip_tabel]\n", "did you mean hip_table?"),
        ("# @package _global_\ndefaults: [override /encodr: none]\n", "did you mean encoder?"),
        ("# @package _global_\ndefaults: [override /encoder: tinny]\n", "did you mean tiny?"),
        (
            "# @package _global_\ndefaults: [/task: regression]\n",
            "must be `override /task: regression`",
        ),
        ("# @package _global_\ndefaults: [override task: x]\n", "must be `override /task: x`"),
    ],
)
def test_an_experiment_that_hydra_would_refuse_says_what_is_expected(
    text: str, said: str, tmp_path: Path
) -> None:
    fact = mistakes(write_own(tmp_path, experiment__mine=text))
    [line] = [each for each in fact.splitlines() if said in each]
    assert line.startswith("  experiment/mine.yaml: ")


@pytest.mark.parametrize("group", sorted(options_of([Path("configs").resolve()])))
def test_shipped_files_would_pass_as_ones_own(group: str, tmp_path: Path) -> None:
    files = {
        f"{group}__my_{file.stem}": file.read_text() for file in Path("configs", group).glob("*.yaml")
    }
    compose_settings([], own=write_own(tmp_path, **files))


def test_a_task_of_ones_own_is_short_and_the_rest_follows_from_the_label(tmp_path: Path) -> None:
    own = write_own(tmp_path / "own", task__lungs=f"defaults: [regression]\n{WEAK}")
    cohort = write_cohort(tmp_path / "c.yaml", NUMBER)
    settings, made = compose_followed(["task=lungs"], cohort=cohort, own=own)
    task, plain = settings.task, compose_settings([], cohort=cohort)
    assert task.kind == plain.task.kind == "regression"
    assert (task.endpoint, task.otherwise, task.operating_point) == ("weak lungs", "sound", 2.5)
    assert (task.target_mean, task.target_sd) == (plain.task.target_mean, plain.task.target_sd)
    assert settings.validation == plain.validation
    assert "task.target_unit='l'" in made
    assert not any(word.startswith("task.endpoint") for word in made), "what was given is kept"


def test_an_experiment_of_ones_own_leaves_open_what_follows_from_the_label(tmp_path: Path) -> None:
    head = "# @package _global_\ndefaults:\n"
    chosen = ("encoder: none", "fusion: clinical_only", "task: regression")
    lines = "".join(f"  - override /{each}\n" for each in chosen)
    own = write_own(tmp_path / "own", experiment__mine=f"{head}{lines}experiment: mine\n")
    cohort = write_cohort(tmp_path / "c.yaml", NUMBER)
    settings, made = compose_followed(["experiment=mine"], cohort=cohort, own=own)
    followed = compose_settings([], cohort=cohort)
    loss = {"loss_threshold", "loss_scale"}  # weigh nothing where loss_emphasis is 0
    assert settings.task.model_dump(exclude=loss) == followed.task.model_dump(exclude=loss)
    assert settings.validation == followed.validation
    assert settings.experiment == "mine"
    assert all(word.partition(".")[0] in ("task", "validation") for word in made)


def test_a_task_without_defaults_is_told_that_nothing_follows_for_it(tmp_path: Path) -> None:
    own = write_own(tmp_path / "own", task__lungs=f"kind: regression\n{WEAK}")
    cohort = write_cohort(tmp_path / "c.yaml", NUMBER)
    with pytest.raises(SettingsError) as caught:
        compose_settings(["task=lungs"], cohort=cohort, own=own)
    *_, last = caught.value.fact.splitlines()
    assert last.startswith("  task/lungs.yaml: has no defaults; below `defaults: [regression]`")
