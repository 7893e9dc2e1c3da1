"""Answers of pyradiomics to fixed films of several regions.

``python answers.py 2026-11-27``, with the day as argument. Knows nothing of the project's code. Needs
pyradiomics, which is no dependency: 3.0.1 builds with ``pip install --no-build-isolation`` beside
numpy, cython, versioneer and SimpleITK. A film is given as one slice of a volume with ``force2D``:
given as a plane, run lengths come back as zones.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from pathlib import Path

import numpy as np
import radiomics
import SimpleITK
from radiomics import firstorder, glcm, glrlm, glszm, ngtdm, shape2D

HERE = Path(__file__).resolve().parent
LEVELS = 32
SIZES = {
    "long_emphasis": ("LongRunEmphasis", "LargeAreaEmphasis"),
    "short_emphasis": ("ShortRunEmphasis", "SmallAreaEmphasis"),
    "low_level_emphasis": ("LowGrayLevelRunEmphasis", "LowGrayLevelZoneEmphasis"),
    "high_level_emphasis": ("HighGrayLevelRunEmphasis", "HighGrayLevelZoneEmphasis"),
    "level_non_uniformity": ("GrayLevelNonUniformityNormalized",) * 2,
    "size_non_uniformity": ("RunLengthNonUniformityNormalized", "SizeZoneNonUniformityNormalized"),
    "percentage": ("RunPercentage", "ZonePercentage"),
    "level_variance": ("GrayLevelVariance",) * 2,
    "size_variance": ("RunVariance", "ZoneVariance"),
    "entropy": ("RunEntropy", "ZoneEntropy"),
}
FAMILIES = {
    "first_order": (
        firstorder.RadiomicsFirstOrder,
        {
            "mean": "Mean",
            "variance": "Variance",
            "skewness": "Skewness",
            "kurtosis": "Kurtosis",
            "median": "Median",
            "p10": "10Percentile",
            "p90": "90Percentile",
            "interquartile_range": "InterquartileRange",
            "range": "Range",
            "mean_absolute_deviation": "MeanAbsoluteDeviation",
            "robust_mean_absolute_deviation": "RobustMeanAbsoluteDeviation",
            "root_mean_square": "RootMeanSquared",
            "entropy": "Entropy",
            "uniformity": "Uniformity",
        },
    ),
    "shape": (
        shape2D.RadiomicsShape2D,
        {
            "area": "MeshSurface",
            "perimeter": "Perimeter",
            "perimeter_per_area": "PerimeterSurfaceRatio",
            "sphericity": "Sphericity",
            "major_axis": "MajorAxisLength",
            "minor_axis": "MinorAxisLength",
            "elongation": "Elongation",
        },
    ),
    "cooccurrence": (
        glcm.RadiomicsGLCM,
        {
            "joint_maximum": "MaximumProbability",
            "joint_variance": "SumSquares",
            "joint_entropy": "JointEntropy",
            "difference_average": "DifferenceAverage",
            "difference_variance": "DifferenceVariance",
            "difference_entropy": "DifferenceEntropy",
            "sum_entropy": "SumEntropy",
            "angular_second_moment": "JointEnergy",
            "contrast": "Contrast",
            "inverse_difference": "Id",
            "inverse_variance": "InverseVariance",
            "correlation": "Correlation",
            "cluster_tendency": "ClusterTendency",
            "cluster_shade": "ClusterShade",
            "cluster_prominence": "ClusterProminence",
            "information_correlation_1": "Imc1",
            "information_correlation_2": "Imc2",
        },
    ),
    "run_lengths": (glrlm.RadiomicsGLRLM, {name: both[0] for name, both in SIZES.items()}),
    "zones": (glszm.RadiomicsGLSZM, {name: both[1] for name, both in SIZES.items()}),
    "neighbourhood": (
        ngtdm.RadiomicsNGTDM,
        {
            name: name.capitalize()
            for name in ("coarseness", "contrast", "busyness", "complexity", "strength")
        },
    ),
}


def ask(film: np.ndarray, region: np.ndarray) -> dict[str, float]:
    """Every feature that pyradiomics has, one matrix of all directions."""
    image = SimpleITK.GetImageFromArray(film[None])
    mask = SimpleITK.GetImageFromArray(region[None].astype(np.uint8))
    answers = {}
    for family, (kind, names) in FAMILIES.items():
        asked = kind(
            image,
            mask,
            binCount=LEVELS,
            force2D=True,
            force2Ddimension=0,
            weightingNorm="no_weighting",
        )
        asked.enableAllFeatures()
        found = asked.execute()
        answers |= {f"{family}.{name}": float(found[theirs]) for name, theirs in names.items()}
    # The fourth moment, where ours is what exceeds that of a normal distribution.
    answers["first_order.kurtosis"] -= 3.0
    return answers


def main() -> None:
    """Write answers.json."""
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    raw = (HERE / "films.json").read_bytes()
    films = {name: {k: np.array(v) for k, v in one.items()} for name, one in json.loads(raw).items()}
    certificate = {
        "tool": f"pyradiomics {radiomics.__version__}",
        "script": Path(__file__).name,
        "date": sys.argv[1],
        "data_sha256": hashlib.sha256(raw).hexdigest(),
    }
    answers = {name: ask(one["film"], one["region"]) for name, one in films.items()}
    written = {"certificate": certificate, "levels": LEVELS, "answers": answers}
    (HERE / "answers.json").write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
