"""The systems that are measured, as data: adding one is one entry here. Imports what a system is."""

from __future__ import annotations

from server.experiments.measures import F1, KAPPA, auc_from, c_index_of
from server.experiments.populations import (
    CHEST_FILMS,
    EIGHT_TABLES,
    HIP_FILMS,
    HIP_FOLLOWED,
    HIP_TABLES,
    LEAKING_CHEST_FILMS,
    VERTEBRAE,
    WRIST_TREES,
)
from server.experiments.readings import CALIBRATION, COLUMNS, IMPORTANCE, MAPS
from server.experiments.system import (
    Ablation,
    Arm,
    Reading,
    System,
    at_hospital,
    leave_one_out,
    looked_at,
    swept,
)
from server.federation.sweep import read_sweep_file
from server.simulation.comparison import MACRO

_ATTENTION, _XATTN = "cross-attention", ("experiment=xattn_bmd",)
# T ≤ −1 beside T ≤ −2.5
_OSTEOPENIA = auc_from("osteopenia")
_ON_PICTURES, _NOT_PRETRAINED = "pretrained on pictures", "not pretrained"
_OF_CLASSES = ("AUC", "accuracy", F1, KAPPA)
_IN_DOMAIN, _TL_FUSION = "pretrained on another part", ("experiment=tl_fusion",)
_WRIST_VIT = ("fusion=image_only", "encoder=standin_vit", "learner=gradient")
_REPRESENTATIVES, _CSSC = "representatives", ("experiment=cssc",)
_NOISED = "clusters of a noised matrix"

_LOGISTIC, _DLR = "logistic", ("experiment=dlr_ovf",)
# learner of tables by what it is called
_CLASSIFIERS = {
    "linear SVM": "linear_svm",
    "network": "mlp",
    "naive Bayes": "naive_bayes",
    "extra trees": "forest",
    "boosting": "boosting",
    "discriminants": "lda",
    "soft neighbours": "soft_neighbours",
}
# A network that sees a word in a corner, and where it stands: its mean token does not say.
_CHEST_CELLS = Arm(
    name="resnet-cells",
    settings=(
        *("task=bmd_classes", "encoder=none", "fusion=clinical_only", "learner=lda"),
        "features.sources=[{kind:encoder,encoder:standin_resnet,token_grid:4,components:16}]",
    ),
)
_CHEST_RESNET = Arm(name="resnet-probe", settings=("experiment=fm_cxr", "encoder=standin_resnet"))
_CHEST_PROBE = Arm(name="vit-probe", settings=("experiment=fm_cxr",))
# Texture, which hiding bone changes: what "uses bone" looks like.
_CHEST_RADIOMICS = Arm(
    name="radiomics",
    settings=(
        *("task=bmd_classes", "encoder=none", "fusion=clinical_only", "learner=lda"),
        "features=radiomics_alone",
    ),
)
_CHEST_STAND_INS = (
    "`encoder=standin_vit`, a narrow transformer taught on public synthetic films of hips, instead of "
    "DINOv2; a BMD of the spine cut at T ≤ −2.5 and T ≤ −1 as the three classes",
)
_TWELVE = read_sweep_file("fm_cxr_small")
# what all of them have; the cohort is the population's
_OF_ALL = tuple(word for word in _TWELVE.settings if not word.startswith("cohort="))

SYSTEMS = (
    System(
        name="xattn_bmd",
        paper="XAttn-BMD (arXiv 2511.14604): femoral-neck BMD from hip films and clinical variables by "
        "bidirectional cross-attention",
        population=HIP_FILMS,
        arms=(
            Arm(name=_ATTENTION, settings=_XATTN),
            Arm(name="concatenation", settings=(*_XATTN, "fusion=concatenation")),
            Arm(name="film reads fields", settings=("experiment=xattn_bmd_image_reads",)),
            Arm(name="fields read film", settings=("experiment=xattn_bmd_clinical_reads",)),
            Arm(name="hidden layer", settings=("experiment=xattn_bmd_mlp",)),
            Arm(name="plain loss", settings=(*_XATTN, "task.loss_emphasis=0")),
            Arm(name="image only", settings=(*_XATTN, "fusion=image_only")),
            Arm(
                name="clinical only",
                settings=(*_XATTN, "encoder=none", "fusion=clinical_only"),
            ),
        ),
        ablations=(
            Ablation(
                first=_ATTENTION,
                second="concatenation",
                claim="abstract: MSE 16.7 % less and R² 16.4 % more than by concatenation",
            ),
            Ablation(first=_ATTENTION, second="film reads fields"),
            Ablation(first=_ATTENTION, second="fields read film"),
            Ablation(first=_ATTENTION, second="hidden layer"),
            Ablation(
                first=_ATTENTION,
                second="plain loss",
                claim="abstract: the ablation confirms the weighted smooth-L1 loss",
            ),
            Ablation(first=_ATTENTION, second="image only"),
            Ablation(first=_ATTENTION, second="clinical only"),
        ),
        figures=("R²", "AUC", _OSTEOPENIA),
        stand_ins=(
            "`encoder=tiny`, taught on public synthetic films, instead of ResNet-34 "
            "(`experiment=xattn_bmd_resnet34`, for which a hospital packs the checkpoint)",
            "nine clinical fields of the synthetic hospitals instead of the Hertfordshire Cohort's",
        ),
    ),
    System(
        name="xattn_bmd_classes",
        paper="XAttn-BMD's screening, as three classes of a T-score by the same cross-attention",
        population=HIP_FILMS,
        arms=(
            Arm(name="one ordered score", settings=("experiment=xattn_bmd_classes",)),
            Arm(
                name="a score for each class",
                settings=("experiment=xattn_bmd_classes", "task.link=softmax"),
            ),
        ),
        ablations=(Ablation(first="one ordered score", second="a score for each class"),),
        figures=("AUC", _OSTEOPENIA, MACRO, "accuracy"),
        stand_ins=("as xattn_bmd",),
        beside="xattn_bmd",
    ),
    System(
        name="hip_table",
        paper="no paper: the tables that the tutorials train, BMD from clinical variables alone",
        population=HIP_TABLES,
        arms=(
            Arm(name="by gradients", settings=("experiment=hip_table",)),
            Arm(name="ridge, one table", settings=("experiment=hip_table", "learner=second_moments")),
        ),
        ablations=(Ablation(first="by gradients", second="ridge, one table"),),
        figures=("R²", "AUC"),
    ),
    System(
        name="hip_fracture",
        paper="no paper: hip fracture within five years, beside death, from hip films and clinical "
        "variables",
        population=HIP_FOLLOWED,
        arms=(
            Arm(name="by gradients", settings=("experiment=hip_fracture",)),
            Arm(
                name="one score of all fields",
                settings=(
                    "experiment=hip_fracture",
                    "learner=proportional_hazards",
                    "privacy.clip_norm=0.5",  # not used: it clips by a setting of its own
                ),
            ),
            Arm(
                name="clinical only",
                settings=("experiment=hip_fracture", "encoder=none", "fusion=clinical_only"),
            ),
        ),
        ablations=(
            Ablation(first="by gradients", second="one score of all fields"),
            Ablation(first="by gradients", second="clinical only"),
        ),
        figures=("C-index", c_index_of("death")),
        readings=(Reading(kind=CALIBRATION),),
        stand_ins=(
            "hazards of fracture by published ratios of age, sex, BMD and prior fracture, times 5 for "
            "people who fall; a film shows BMD and no other part of the hazard",
        ),
    ),
    System(
        name="mura_wrist",
        paper="the form of MURA (Rajpurkar et al. 2018): normal or abnormal from wrist films alone",
        population=WRIST_TREES,
        arms=(
            Arm(name="narrow ResNet", settings=("fusion=image_only", "encoder=standin_resnet")),
            # taught on hips: what is shipped where no encoder is named
            Arm(name="one linear score", settings=("fusion=image_only",)),
            Arm(
                name="radiomics",
                settings=(
                    "features=radiomics",
                    "learner=logistic",
                    "encoder=none",
                    "fusion=clinical_only",
                ),
            ),
        ),
        ablations=(
            Ablation(first="narrow ResNet", second="one linear score"),
            Ablation(first="narrow ResNet", second="radiomics"),
        ),
        figures=("AUC", "accuracy"),
        stand_ins=(
            "`encoder=tiny`, taught on hips, and `encoder=standin_resnet`, both on public synthetic "
            "films, instead of DenseNet-169; one picture of each study",
        ),
    ),
    System(
        name="cssc",
        paper="CSSC (arXiv 2411.00916): components of three frozen networks, one representative of "
        "each cluster of them, joined with clinical variables in a network",
        population=HIP_FILMS,
        arms=(
            Arm(name=_REPRESENTATIVES, settings=_CSSC),
            Arm(name="all components", settings=(*_CSSC, "learner=mlp")),
            Arm(
                name=_NOISED,
                settings=(*_CSSC, "learner.by.shares=[{up_to_epsilon:50,share:0.25}]"),
            ),
            Arm(name="clinical only", settings=(*_CSSC, "learner=mlp", "features=usual")),
            Arm(name="image only", settings=(*_CSSC, "features=three_encoders_alone")),
        ),
        ablations=(
            Ablation(
                first=_REPRESENTATIVES,
                second="all components",
                claim="redundant components are left out so that what is kept combines better",
            ),
            Ablation(first=_REPRESENTATIVES, second=_NOISED),
            Ablation(
                first=_REPRESENTATIVES,
                second="clinical only",
                claim="films and clinical variables together",
            ),
            Ablation(
                first=_REPRESENTATIVES,
                second="image only",
                claim="films and clinical variables together",
            ),
        ),
        figures=("AUC", "accuracy"),
        readings=(
            Reading(kind=IMPORTANCE, arms=(_REPRESENTATIVES, "all components", "clinical only")),
            Reading(kind=COLUMNS, arms=(_NOISED,)),
        ),
        stand_ins=(
            "three narrow networks, taught on public synthetic films, instead of VGG-19, Inception-v3 "
            "and ResNet-50",
            "three classes of a femoral-neck T-score and nine clinical fields of the synthetic "
            "hospitals instead of the paper's films and variables",
            "the paper's own figures are of the training fit, and it tells no number of components: "
            "16 of each network",
        ),
    ),
    System(
        name="tl_fusion",
        paper="TL-Fusion (Cancers 2023, 15, 4007): networks pretrained on films of other parts, their "
        "features joined, a classifier; normal or abnormal",
        population=WRIST_TREES,
        arms=(
            Arm(name=_IN_DOMAIN, settings=_TL_FUSION),
            Arm(
                name=_ON_PICTURES,
                settings=(*_TL_FUSION, "features=two_encoders_pictures"),
            ),
            Arm(name=_NOT_PRETRAINED, settings=(*_TL_FUSION, "features=two_encoders_drawn")),
            Arm(
                name="one network",
                settings=(
                    *_TL_FUSION,
                    "features.sources=[{kind:encoder,encoder:standin_resnet,components:16}]",
                ),
            ),
            Arm(name="linear SVM", settings=(*_TL_FUSION, "learner=linear_svm")),
            Arm(name="forest", settings=(*_TL_FUSION, "learner=forest")),
            Arm(name="transformer as it is", settings=_WRIST_VIT),
            Arm(
                name="transformer tuned on wrists",
                settings=(
                    *_WRIST_VIT,
                    "privacy.max_views=1",  # every further place is encoded too
                    "encoder.training=lora",
                    "encoder.trained_blocks=1",
                    "privacy.sample_rate=0.25",
                    "federation.rounds=10",
                    "federation.local_steps=2",
                    "federation.learning_rate=0.3",
                ),
            ),
        ),
        ablations=(
            Ablation(
                first=_IN_DOMAIN,
                second=_ON_PICTURES,
                claim="in-domain pretraining on other parts above ImageNet's",
            ),
            Ablation(
                first=_IN_DOMAIN,
                second=_NOT_PRETRAINED,
                claim="pretraining above initial weights",
            ),
            Ablation(
                first=_IN_DOMAIN,
                second="one network",
                claim="features of several networks above those of one",
            ),
            Ablation(first=_IN_DOMAIN, second="linear SVM"),
            Ablation(first=_IN_DOMAIN, second="forest"),
            Ablation(
                first="transformer tuned on wrists",
                second="transformer as it is",
                claim="tuning on the target part gains",
            ),
        ),
        figures=_OF_CLASSES,
        readings=(Reading(kind=MAPS, arms=(_IN_DOMAIN, _ON_PICTURES, _NOT_PRETRAINED)),),
        stand_ins=(
            "two narrow networks, a ResNet and a DenseNet, taught physical quantities of public "
            "synthetic hips, instead of networks taught the findings of MURA's other parts",
            "pictures of dead leaves instead of ImageNet",
            "a small transformer of hips, tuned on the target part by low-rank changes of a block, "
            "instead of all networks",
        ),
    ),
    System(
        name="tl_fusion_transfer",
        paper="TL-Fusion's test at a hospital that never trained, and its light tuning there",
        population=WRIST_TREES,
        arms=(Arm(name="narrow ResNet", settings=("fusion=image_only", "encoder=standin_resnet")),),
        figures=_OF_CLASSES,
        readings=(Reading(kind=MAPS),),
        stand_ins=("one network and a linear score, which a hospital can train further by gradients",),
        design=leave_one_out,
        beside="tl_fusion",
    ),
    System(
        name="dlr_ovf",
        paper="DLR-OVF (Front Endocrinol 2024, 1370838): radiomics and a ResNet's features of "
        "vertebrae, of which a LASSO keeps some for one of eight classifiers",
        population=VERTEBRAE,
        arms=(
            Arm(name=_LOGISTIC, settings=_DLR),
            *(
                Arm(name=name, settings=(*_DLR, f"learner@learner.then={kind}"))
                for name, kind in _CLASSIFIERS.items()
            ),
            Arm(name="taught on hips", settings=(*_DLR, "features=deep_radiomics_generic")),
            Arm(name="all columns", settings=(*_DLR, "learner=logistic")),
            Arm(
                name="radiomics only", settings=(*_DLR, "learner=logistic", "features=radiomics_alone")
            ),
        ),
        ablations=(
            Ablation(
                first=_LOGISTIC,
                second="taught on hips",
                claim="RadImageNet, pictures of medicine, above ImageNet by DeLong's test",
                is_in_full=True,
            ),
            Ablation(first=_LOGISTIC, second="all columns"),
            Ablation(
                first="all columns",
                second="radiomics only",
                claim="radiomics with a network's features above radiomics alone",
            ),
            *(
                Ablation(first=_LOGISTIC, second=name, claim="logistic regression is best of eight")
                for name in _CLASSIFIERS
            ),
        ),
        figures=(MACRO, "accuracy"),
        readings=(Reading(kind=COLUMNS, arms=(_LOGISTIC,)),),
        of_arms=(
            MACRO,
            "AUC, no_fracture",
            "AUC, mild",
            "AUC, moderate_or_severe",
            "accuracy",
        ),
        stand_ins=(
            "`encoder=standin_resnet_spine`, a narrow ResNet taught heights of public synthetic "
            "vertebrae, instead of ResNet-50 with RadImageNet's weights",
            "`encoder=standin_resnet`, the same taught on hips, instead of ResNet-50 with ImageNet's",
            "16 public components each of radiomics and ResNet instead of all their features",
            "soft neighbours instead of k nearest neighbours, which would keep patients in the model; "
            "discriminants as the eighth, as random forest and extra trees are one under this contract",
        ),
    ),
    System(
        name="fm_cxr",
        paper="FM-CXR (SNUH 2025): three classes of bone density from chest films by foundation models",
        population=CHEST_FILMS,
        arms=(
            _CHEST_PROBE,
            Arm(
                name="films alone",
                settings=("experiment=fm_cxr", "features.sources=[{kind:image}]"),
            ),
            Arm(
                name="clinical only",
                settings=("task=bmd_classes", "encoder=none", "fusion=clinical_only"),
            ),
            _CHEST_RADIOMICS,
        ),
        ablations=(
            Ablation(first="vit-probe", second="clinical only"),
            Ablation(first="vit-probe", second="films alone"),
        ),
        figures=("AUC", "accuracy"),
        stand_ins=_CHEST_STAND_INS,
        design=looked_at,
    ),
    System(
        name="fm_cxr_sweep",
        paper="FM-CXR's twelve variants, model × fine-tuning, under one ε: "
        "`configs/sweep/fm_cxr_small.yaml`",
        population=CHEST_FILMS,
        arms=tuple(Arm(name=name, settings=(*_OF_ALL, *alone)) for name, alone in _TWELVE.arms.items()),
        ablations=(
            Ablation(
                first="vit-lora",
                second="vit-probe",
                claim="DINOv2 with LoRA is the best of twelve, AUC .93",
            ),
            Ablation(first="vit-lora", second="vit-lora-up"),
            Ablation(first="vit-lora", second="vit-last-block"),
        ),
        figures=("AUC", "accuracy"),
        stand_ins=(
            "six narrow networks that are shipped instead of DINOv2-S and -B, ViT-S, ResNet-50 by two "
            "pretrainings and DenseNet-121, which `configs/sweep/fm_cxr.yaml` declares for a GPU",
        ),
        design=swept,
        share_epsilon=True,
        beside="fm_cxr",
    ),
    System(
        name="fm_cxr_clean",
        paper="the arms of fm_cxr_leaking where no marker leaks",
        population=CHEST_FILMS,
        arms=(_CHEST_CELLS, _CHEST_RESNET, _CHEST_RADIOMICS),
        figures=("AUC", "accuracy"),
        design=at_hospital("larch"),
        beside="fm_cxr",
    ),
    System(
        name="fm_cxr_leaking",
        paper="no paper: fm_cxr where a marker of one hospital leaks the label, as PORTABLE did with "
        "pneumonia (Zech et al. 2018), beside the same training on clean films",
        population=LEAKING_CHEST_FILMS,
        arms=(_CHEST_CELLS, _CHEST_RESNET, _CHEST_RADIOMICS),
        figures=("AUC", "accuracy"),
        stand_ins=(
            "`encoder=standin_resnet`, a narrow ResNet: 16 components of each of 4 × 4 cells in "
            "linear discriminants, and its mean token in an ordered score (both frozen)",
            "16 components of radiomics in linear discriminants, which have no map of where they look",
        ),
        design=at_hospital("larch"),
        beside="fm_cxr",
        clean="fm_cxr_clean",
    ),
    System(
        name="who_gains",
        paper="no paper: each of eight hospitals alone, beside the other seven that never see it",
        population=EIGHT_TABLES,
        arms=(Arm(name="by gradients", settings=("experiment=hip_table",)),),
        figures=("R²", "AUC"),
        design=leave_one_out,
    ),
)
