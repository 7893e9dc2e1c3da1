"""The product's statistics beside those of R and scikit-learn, into docs/references.md.

``make references``, or ``python -m tests.bench.references`` from the repository's root. The answers of
the other programs are stored with their scripts in ``tests/practice/references``; neither is needed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "practice")]


def main() -> None:
    """Compute and write."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    from practice_references import PAGE, page
    from reference_rows import ROWS

    PAGE.write_text(page(ROWS))


if __name__ == "__main__":
    main()
