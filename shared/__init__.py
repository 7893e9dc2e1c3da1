"""What hospitals, coordinator and auditor must agree on; imports neither ``server`` nor ``client``.

The three packages have common names. A foreign module of the same name earlier on the path would win
silently, so their places are compared on the first import. Here too, before torch is loaded and unless
the administrator decided otherwise: idle OpenMP threads sleep instead of spinning, and matrix products
give the same bits in every call, on a GPU (cuBLAS) and however a tensor lies in memory (MKL).
"""

import os as _os
from importlib.util import find_spec as _find_spec
from pathlib import Path as _Path

# Two sites on two cores made each other ten times slower by waiting actively.
_os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# docs.nvidia.com/cuda/cublas, "Results Reproducibility"; Intel oneMKL guide, "Conditional Numerical
# Reproducibility": the same instructions whatever the alignment of a matrix.
_os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
_os.environ.setdefault("MKL_CBWR", "AUTO")

for _name in ("server", "client"):
    _spec = _find_spec(_name)
    if _spec is not None and _spec.origin is not None:
        _expected, _found = _Path(__file__).resolve().parent.parent, _Path(_spec.origin).resolve()
        if _found.parent.parent != _expected:
            raise ImportError(f"package {_name} must come from {_expected}, not from {_found.parent}")
