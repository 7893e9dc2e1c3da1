"""What a program writes under several numbers of threads of arithmetic."""

from __future__ import annotations

import os
import subprocess
import sys

THREADS = ("1", "2", "7")


def outputs_by_threads(script: str) -> set[bytes]:
    """The different outputs of a program under 1, 2 and 7 threads, each in a process of its own."""
    return {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"OPENBLAS_NUM_THREADS": n, "OMP_NUM_THREADS": n},
            capture_output=True,
            check=True,
        ).stdout
        for n in THREADS
    }
