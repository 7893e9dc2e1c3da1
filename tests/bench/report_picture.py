"""The README's picture of a report: the top of a demo's page as a headless Chromium shows it.

``make picture`` after ``make demo``; Debian's package is ``chromium``. By hand, since no test has a
browser; what the picture shows is the demo of that day.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

PICTURE = Path("docs/pictures/report.png")
WIDTH, HEIGHT = 1100, 1125  # down to the pooled row of the internal validation
COLOURS = 64  # text and lines need no more, and a file a third as large


def take(page: Path, out: Path) -> None:
    """Write the top of ``page`` as a PNG."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit("chromium is missing: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        size = f"--window-size={WIDTH},{HEIGHT}"
        where = [f"--screenshot={shot}", page.resolve().as_uri()]
        subprocess.run([browser, *options, size, *where], check=True, capture_output=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.open(shot).convert("RGB").quantize(COLOURS).save(out, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, nargs="?", default=Path("demo/report.html"))
    parser.add_argument("--out", type=Path, default=PICTURE)
    given = parser.parse_args()
    take(given.page, given.out)
