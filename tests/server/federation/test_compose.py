"""Settings: every shipped file composes, every mistake is named, all of them at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from server.federation.compose import CONFIGS, compose_followed, compose_settings
from server.federation.own_options import SWEEPS
from shared.contract.settings import Settings, read_settings
from shared.errors import SettingsError
from shared.exam.schema import read_schema
from shared.learners.refused import refusal_of
from shared.model.architectures import ARCHITECTURES

PUBLISHED = {name for name, row in ARCHITECTURES.items() if row.published}
OPTIONS = [
    (folder.name, file.stem)
    for folder in sorted(CONFIGS.iterdir())
    if folder.is_dir() and folder.name != SWEEPS
    for file in sorted(folder.glob("*.yaml"))
]
# What a number's own task leaves open, for BMD.
_NUMBER = [
    "task.target_unit=g/cm2",
    *("task.target_mean=0.75", "task.target_sd=0.12", "task.endpoint=low", "task.otherwise=high"),
    *("task.endpoint_threshold=0.6", "validation.score_low=0.5", "validation.score_high=0.75"),
    *("validation.target_low=0.35", "validation.target_high=1", "validation.error_high=0.25"),
]
_PACKED = ["encoder.weights=packed.safetensors", f"encoder.sha256={'0' * 64}"]
_UNSHIPPED = {
    name for group, name in OPTIONS if group == "encoder" and name.removesuffix("_lora") in PUBLISHED
}
_OTHER_PARTS = {
    **dict.fromkeys(("elbow_abnormal", "humerus_abnormal", "wrist_abnormal"), "abnormal"),
    **dict.fromkeys(("spine_fracture", "spine_vertebrae"), "moderate_or_severe"),
}
# An option that makes sense only beside another one.
COMPANIONS = {
    ("cohort", "hip_table"): ["encoder=none", "fusion=clinical_only"],
    **{
        ("cohort", name): [
            "task=classification",
            f"task.positive_class={ill}",
            "validation=probability",
        ]
        for name, ill in _OTHER_PARTS.items()
    },
    ("cohort", "mura_wrist"): [
        *("task=classification", "task.positive_class=abnormal"),
        *("validation=probability", "fusion=image_only"),
    ],
    ("cohort", "hip_fracture"): ["task=survival", "task.endpoint=fracture"],
    ("task", "survival"): ["cohort=hip_fracture", "task.endpoint=fracture"],
    ("encoder", "none"): ["fusion=clinical_only"],
    **{
        ("features", name): ["learner=second_moments"]
        for name in (
            *("image_radiomics", "radiomics", "radiomics_encoder"),
            *("three_encoders", "three_encoders_alone"),
            *("deep_radiomics", "deep_radiomics_generic", "radiomics_alone"),
            *("two_encoders", "two_encoders_pictures", "two_encoders_drawn"),
            "cells_encoder_radiomics",
        )
    },
    **{("encoder", name): _PACKED for name in _UNSHIPPED},
    **{("experiment", name): _PACKED for name in ("dinov2_s_lora", "xattn_bmd_resnet34")},
    ("task", "classification"): ["task.positive_class=osteoporosis", "validation=probability"],
    ("task", "regression"): _NUMBER,
    ("validation", "number"): ["task=regression", *_NUMBER],
    ("validation", "probability"): ["task=classification", "task.positive_class=osteoporosis"],
}


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_every_shipped_yaml_composes(group: str, name: str) -> None:
    overrides = [f"{group}={name}", *COMPANIONS.get((group, name), [])]
    assert isinstance(compose_settings(overrides), Settings)


def test_there_is_an_option_in_every_group() -> None:
    groups = {"cohort", "task", "encoder", "fusion", "privacy", "strategy", "federation", "validation"}
    assert groups | {"engine", "experiment", "features", "learner", "measure"} == {
        group for group, _ in OPTIONS
    }


def test_an_option_whose_file_has_changed_is_read_again(tmp_path: Path) -> None:
    shutil.copytree(CONFIGS, configs := tmp_path / "configs")
    before = compose_settings(configs=configs)
    file = configs / "federation" / "default.yaml"
    file.write_text(file.read_text().replace("rounds: null", "rounds: 77"))
    assert compose_settings(configs=configs).federation.rounds == 77
    assert compose_settings() == before


def test_what_is_set_once_is_not_set_the_next_time() -> None:
    before = compose_settings()
    assert compose_settings(["federation.rounds=78"]).federation.rounds == 78
    assert compose_settings() == before


@pytest.mark.parametrize("values", ["3,4", "choice(3,4)", "range(1,4)"])
def test_a_setting_has_one_value(values: str) -> None:
    with pytest.raises(SettingsError, match=r"federation\.rounds=.* gives several values") as refused:
        compose_settings([f"federation.rounds={values}"])
    assert "group.key=[a,b]" in refused.value.hint


@pytest.mark.parametrize(("measure", "left"), [("[]", set()), ("maps", {"maps"})])
def test_a_measure_of_an_experiment_is_taken_off(measure: str, left: set[str]) -> None:
    assert set(compose_settings(["experiment=fm_cxr"]).measures) == {"bone", "maps"}
    assert set(compose_settings(["experiment=fm_cxr", f"measure={measure}"]).measures) == left


def test_what_is_set_of_a_measure_that_is_not_chosen_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match=r"measures\.bone\.groups"):
        compose_settings(["experiment=fm_cxr", "measure=[]", "measures.bone.epsilon=2"])


def test_all_mistakes_are_named_together_with_what_is_allowed() -> None:
    with pytest.raises(SettingsError) as caught:
        compose_settings(
            ["fusion=attention", "privacy.epsilonn=3", "privacy.delta=7", "seed=-1", "nonsense"]
        )
    fact = caught.value.fact
    assert "5 settings are not valid" in fact
    assert "fusion: must be one of ['clinical_only', 'concatenation', 'cross_attention'" in fact
    assert "privacy.epsilonn: is not a setting" in fact
    assert "privacy.delta: Input should be less than 0.01, not 7" in fact
    assert "seed: Input should be greater than or equal to 0, not -1" in fact
    assert "nonsense: must be group=name or group.key=value" in fact
    assert caught.value.code == "settings.invalid"
    assert "hint:" in str(caught.value)


def test_parts_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(SettingsError, match="encoder none needs fusion clinical_only"):
        compose_settings(["encoder=none"])


def test_an_encoder_without_weights_is_refused_before_anything_runs() -> None:
    with pytest.raises(SettingsError, match=r"resnet34 needs encoder\.weights and encoder\.sha256"):
        compose_settings(["encoder=resnet34"])


def test_privacy_off_is_a_word_and_not_a_boolean() -> None:
    assert compose_settings(["privacy=off"]).privacy.mode == "off"


def test_settings_survive_a_round_through_json() -> None:
    settings = compose_settings(["privacy.epsilon=1"])
    assert read_settings(settings.model_dump(mode="json")) == settings


def test_no_shipped_file_names_a_python_target() -> None:
    for path in CONFIGS.rglob("*.yaml"):
        assert "_target_" not in Path(path).read_text(), path.name


@pytest.mark.parametrize("name", [name for group, name in OPTIONS if group == "experiment"])
def test_an_experiment_samples_patients_exactly_where_its_encoder_learns(name: str) -> None:
    settings = compose_settings([f"experiment={name}", *COMPANIONS.get(("experiment", name), [])])
    assert settings.experiment == name
    assert (settings.privacy.sample_rate < 1) == (settings.encoder.training != "frozen")
    is_frozen = settings.encoder.training == "frozen"
    names = {"standard"} | ({"few_messages", "one_message"} if is_frozen else set())
    assert set(settings.schedules) == names, "few messages were chosen for a frozen encoder only"
    assert settings.federation.rounds is None, "the schedule fills it in"


def test_an_option_takes_another_place_of_its_group_and_mistakes_in_it_are_named() -> None:
    settings = compose_settings(["experiment=dlr_ovf", "learner@learner.then=forest"])
    assert settings.learner.then.kind == "forest"
    with pytest.raises(SettingsError) as error:
        compose_settings(["experiment=dlr_ovf", "learner@learner.then=oak", "nobody@learner=x"])
    assert "learner: must be one of" in error.value.fact
    assert "nobody@learner=x: must be group=name" in error.value.fact


def test_a_schedule_that_a_fusion_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(
        SettingsError, match=r"one of \['few_messages', 'one_message', 'standard'\].*not 'slow'"
    ):
        compose_settings(["schedule=slow"])
    with pytest.raises(SettingsError, match=r"one of \['standard'\] with fusion linear"):
        compose_settings(["experiment=resnet_gn", "schedule=few_messages"])


def test_ordered_classes_have_their_own_head_unless_another_learner_is_named() -> None:
    asked = ["task=bmd_classes", "validation=probability"]
    assert compose_settings(asked).learner.kind == "proportional_odds"
    assert compose_settings([*asked, "learner=gradient"]).learner.kind == "gradient"
    assert compose_settings([*asked, "learner=forest"]).learner.kind == "forest"
    chosen = compose_settings(["experiment=bmd_classes", "learner=naive_bayes"])
    assert chosen.learner.kind == "naive_bayes"
    assert compose_settings().learner.kind == "gradient"


@pytest.mark.parametrize(
    ("override", "code"),
    [
        ("learner=knn", "settings.stored-neighbours"),
        ("learner=SVM", "settings.kernel-machine"),
        ("learner=KNeighborsClassifier", "settings.stored-neighbours"),
        ("learner=sklearn.svm.SVC", "settings.kernel-machine"),
        ("learner=GradientBoostingClassifier", "settings.split-search"),
        ("learner.early-stopping-rounds=5", "settings.cohort-stopping"),
        ("task.decision_threshold=0.4", "settings.cohort-threshold"),
        ("learner=kernel-svm", "settings.kernel-machine"),
        ("learner=Nearest neighbours", "settings.stored-neighbours"),
        ("learner=smote", "settings.cohort-oversampling"),
        ("learner.kind=early_stopping", "settings.cohort-stopping"),
        ("learner=xgboost", "settings.split-search"),
        ("learner.early_stopping=true", "settings.cohort-stopping"),
        ("learner.early-stopping=true", "settings.cohort-stopping"),
        ("task.class_weights=[1,2]", "settings.cohort-class-weights"),
        ("federation.scaler.kind=standard", "settings.cohort-scaler"),
        ("validation.tune_threshold=true", "settings.cohort-threshold"),
        ("fusion=gaussian_process", "settings.kernel-machine"),
        ("measure=permutation-importance", "settings.cohort-permutation"),
        ("smote=true", "settings.cohort-oversampling"),
        ("privacy.best_of=5", "settings.cohort-stopping"),
    ],
)
def test_what_cannot_be_private_keeps_its_own_code_and_hint(override: str, code: str) -> None:
    with pytest.raises(SettingsError) as caught:
        compose_settings([override])
    assert caught.value.code == code
    words = [*override.partition("=")[0].split("."), override.partition("=")[2]]
    [refusal] = [found for word in words if (found := refusal_of(word)) is not None]
    assert str(caught.value) == str(refusal)


@pytest.mark.parametrize("override", ["learner=knn", "learner.kind=knn"])
@pytest.mark.parametrize("mistake", ["seed=-1", "fusion=attention", "nonsense"])
def test_beside_other_mistakes_it_is_one_of_them(override: str, mistake: str) -> None:
    with pytest.raises(SettingsError, match="2 settings are not valid") as caught:
        compose_settings([override, mistake])
    assert caught.value.code == "settings.invalid"
    assert "nearest neighbours need" in caught.value.fact
    assert "(settings.stored-neighbours)" in caught.value.fact
    assert "use learner=soft_neighbours" in caught.value.fact


def test_an_unknown_kind_of_learner_is_told_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"kind: must be one of 'boosting', .* not 'oracle'"):
        compose_settings(["learner.kind=oracle"])


def test_an_experiment_that_samples_says_how_to_switch_privacy_off() -> None:
    with pytest.raises(SettingsError, match="sample_rate 1"):
        compose_settings(["experiment=resnet_gn", "privacy=off"])
    settings = compose_settings(["experiment=resnet_gn", "privacy=off", "privacy.sample_rate=1"])
    assert settings.privacy.mode == "off"


@pytest.mark.parametrize("task", ["bmd_classes", "classification"])
def test_a_task_of_classes_is_validated_by_probabilities_unless_another_is_named(task: str) -> None:
    named_class = "task.positive_class=osteoporosis"
    chosen = compose_settings([f"task={task}", named_class]).validation
    assert (chosen.score_low, chosen.score_high) == (0.0, 1.0)
    with pytest.raises(SettingsError, match="score_low and score_high of classes must be 0 and 1"):
        compose_settings([f"task={task}", named_class, "validation=bmd"])


OTHER = Path(__file__).parents[2] / "practice" / "other_disease" / "cohort.yaml"
OF_TABLES = (
    *("task=classification", "task.endpoint=malignancy", "task.positive_class=malignant"),
    *("encoder=none", "fusion=clinical_only"),
)


def test_a_cohort_file_of_any_folder_is_taken_and_its_values_can_be_changed(tmp_path: Path) -> None:
    mine = tmp_path / "my cohort.yml"
    mine.write_text(OTHER.read_text())
    before = sorted(CONFIGS.rglob("*"))
    settings = compose_settings(
        [*OF_TABLES, "cohort.split.train=0.6", "cohort.split.internal=0.4"], cohort=mine
    )
    assert settings.cohort.name == "breast_cytology"
    assert settings.cohort.split.train == 0.6
    assert sorted(CONFIGS.rglob("*")) == before
    assert compose_settings(OF_TABLES, cohort=mine).cohort == read_schema(mine)


def test_a_cohort_is_taken_by_the_name_of_a_shipped_one_too() -> None:
    assert compose_settings([], cohort="hip_bmd") == compose_settings([])


def test_a_cohort_file_that_is_not_there_or_not_valid_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        compose_settings([], cohort=tmp_path / "none.yaml")
    assert caught.value.code == "settings.no-cohort-file"
    assert "hip_bmd" in caught.value.fact
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        OTHER.read_text().replace("train: 0.7", "train: 0.9").replace("low: 0,", "lou: 0,")
    )
    with pytest.raises(SettingsError) as caught:
        compose_settings([], cohort=wrong)
    assert caught.value.code == "settings.invalid-schema"
    for words in ("lou", "train + tune + internal must be 1"):
        assert words in caught.value.fact


def test_a_cohort_that_is_named_twice_is_one_of_the_mistakes() -> None:
    with pytest.raises(SettingsError, match="must be named once") as caught:
        compose_settings(["cohort=hip_bmd", "privacy.epsilon=-1"], cohort=OTHER)
    assert "privacy.epsilon" in caught.value.fact


def test_what_a_task_leaves_open_must_be_given_and_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        compose_settings(["task=regression"])
    for name in ("target_mean", "target_sd", "target_unit", "endpoint", "otherwise"):
        assert f"task.{name}: must be given" in caught.value.fact
    assert "validation.error_high: must be given" in caught.value.fact, "no default stands for it"


def own_configs(folder: Path, **files: str) -> Path:
    for place, text in files.items():
        group, _, name = place.partition("__")
        (folder / group).mkdir(parents=True, exist_ok=True)
        (folder / group / f"{name}.yaml").write_text(text)
    return folder


def test_options_of_ones_own_lie_in_any_folder_and_are_chosen_as_the_shipped_ones(
    tmp_path: Path,
) -> None:
    own = own_configs(
        tmp_path / "my, own",
        cohort__cells=OTHER.read_text(),
        privacy__strict="defaults: [patient_dp]\nepsilon: 0.5\n",
    )
    before = sorted(CONFIGS.rglob("*"))
    settings = compose_settings([*OF_TABLES, "cohort=cells", "privacy=strict"], own=own)
    assert settings.cohort == read_schema(OTHER)
    assert (settings.privacy.epsilon, settings.privacy.delta) == (0.5, 1e-5)
    assert sorted(CONFIGS.rglob("*")) == before
    with pytest.raises(SettingsError, match="'strict'"):
        compose_settings(["privacy=strickt"], own=own)


def test_a_chosen_cohort_of_ones_own_is_read_with_lines(tmp_path: Path) -> None:
    own = own_configs(tmp_path, cohort__cells=OTHER.read_text().replace("low: 0,", "lou: 0,", 1))
    with pytest.raises(SettingsError, match=r"fields\.radius\.lou: is not a setting.*line 6, column"):
        compose_settings([*OF_TABLES, "cohort=cells"], own=own)


@pytest.mark.parametrize("cohort", [None, "hip_table"])
def test_a_misspelt_option_is_told_without_what_its_stand_in_contradicts(cohort: str | None) -> None:
    overrides = ["task=clasification", "privacy.epsilon=many"]
    overrides += [] if cohort else ["cohort=hip_table", "encoder=none", "fusion=clinical_only"]
    with pytest.raises(SettingsError) as caught:
        compose_settings(overrides, cohort=cohort)
    lines = caught.value.fact.splitlines()
    assert lines[0].startswith("2 settings"), "the other mistake is named beside it"
    assert "did you mean classification?" in lines[1]
    assert "privacy.epsilon" in lines[2]


def test_a_misspelt_setting_is_answered_by_the_nearest() -> None:
    with pytest.raises(SettingsError, match="is not a setting; did you mean epsilon"):
        compose_settings(["privacy.epsilonn=3"])


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("fusion=crossattention", "cross_attention"),
        ("task=regresion", "regression"),
        ("measure=[errors,subgrups_age]", "subgroups_age"),
        ("schedule=few_mesages", "few_messages"),
        ("privcy=off", "privacy"),
    ],
)
def test_a_misspelt_option_or_group_is_answered_by_the_nearest(override: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=rf"; did you mean {meant}\?\n"):
        compose_settings([override])


def test_what_contradicts_each_other_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        compose_settings(
            ["task.target_unit=mg/cm2", "task.target_mean=750", "task.operating_point=0.4"]
        )
    assert "3 settings are not valid" in caught.value.fact
    assert "task.target_unit must be cohort.label.unit 'g/cm2', not 'mg/cm2'" in caught.value.fact
    assert "task.target_mean 750 must lie between cohort.label.low 0.2" in caught.value.fact
    assert "task.operating_point 0.4 must lie between validation.score_low 0.5" in caught.value.fact


@pytest.mark.parametrize("fusion", ["linear", "cross_attention", "concatenation"])
def test_a_fusion_with_clinical_fields_is_refused_where_there_are_none(fusion: str) -> None:
    named = [f"fusion={fusion}"]
    with pytest.raises(SettingsError, match=f"fusion {fusion} needs clinical fields in the cohort"):
        compose_followed(named, cohort="mura_wrist")
    settings, made = compose_followed([], cohort="mura_wrist")
    assert (settings.fusion.name, settings.cohort.fields) == ("image_only", ())
    assert "fusion=image_only" in made
