"""How radiomics agree with IBSI and pyradiomics, and what they cost, into docs/radiomics.md.

``make radiomics``, or ``python tests/bench/radiomics.py`` from the repository's root; ``--constants``
only remakes the public constants and names their hash in configs/features. Times are processor time on
one thread, the fastest of many, which on a shared machine is what repeats.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.contract.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "radiomics.md"
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "practice")]
PIXELS, REPEATS, N_FILMS = 224, 30, 40
INTRODUCTION = """# Radiomics

Written by `make radiomics`; nothing here is typed by hand.

Two-dimensional features by the names and definitions of IBSI (arXiv 1612.07003), {levels} levels of a
region's own range. *IBSI*: largest difference from the values published for the digital phantom, which
have three digits, as a share of the value. *pyradiomics*: largest difference from the stored answers of
{tool} ({date}) to {films} films, of features that it has. Time: of a film of {pixels} × {pixels}
pixels, noise and smooth, {day}.

"""


def fastest_ms(work: Callable[[], object]) -> float:
    """Milliseconds of processor time of the fastest of many."""
    best = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return 1e3 * best


def differences(family: str) -> tuple[float | None, float | None]:
    """Largest difference from IBSI, as a share, and from pyradiomics, where they have the family."""
    from practice_radiomics import answered, both_answers, mean_over_slices, published, stored, whole

    from shared.features.radiomics.table import FAMILIES

    ibsi = None
    if family in stored("ibsi")["values"]:
        ours = FAMILIES[family](whole()) if family == "first_order" else mean_over_slices(family)
        ibsi = max(abs(ours[name] / value - 1.0) for name, value in published(family).items())
    pairs = [both_answers(name, family) for name, each in answered() if each == family]
    apart = [abs(a[name] - b[name]) / max(1.0, abs(b[name])) for a, b in pairs for name in b]
    return ibsi, max(apart, default=None)


def family_rows() -> list[str]:
    """A line per family, and one of all."""
    import numpy as np
    from scipy import ndimage

    from shared.features.radiomics.region import find_region
    from shared.features.radiomics.table import FAMILIES, feature_names
    from shared.features.radiomics_block import ALL, LEVELS, measure_film

    rng = np.random.default_rng(0)
    noise = rng.random((PIXELS, PIXELS))
    smooth = ndimage.gaussian_filter(rng.normal(size=noise.shape), 2.0)
    films = (noise, smooth)
    rows = []
    for family, measure in FAMILIES.items():
        ibsi, theirs = differences(family)
        regions = [find_region(film, n_levels=LEVELS) for film in films]
        times = [fastest_ms(lambda each=each, of=measure: of(each)) for each in regions]
        shown = ["not published" if each is None else f"{each:.1e}" for each in (ibsi, theirs)]
        n = len(feature_names((family,)))
        rows.append(f"| {family} | {n} | {shown[0]} | {shown[1]} | {times[0]:.1f} · {times[1]:.1f} |")
    times = [fastest_ms(lambda each=each: measure_film(each)) for each in films]
    n = len(feature_names(ALL))
    rows.append(f"| **all, with levels** | {n} | | | {times[0]:.1f} · {times[1]:.1f} |")
    return rows


def cache_rows() -> list[str]:
    """Seconds of a first and a second loading of a cohort's films, and of one with a changed source."""
    import numpy as np

    import shared.train.film_columns  # noqa: F401 - torch is read before anything is timed
    from client.cohort.tokens import load_film_columns
    from server.encoders.file import encoder_files
    from server.encoders.pretrain import draw_films
    from server.federation.compose import compose_settings
    from shared.exam.pixels import PREPROCESSING_VERSION
    from shared.signing.canonical import hash_file

    drawn, _ = draw_films(N_FILMS, seed=3)
    films = (drawn[:, 0].numpy() / 255.0).astype(np.float16)
    cohort = SimpleNamespace(
        fingerprint="0" * 64,
        images=films,
        preprocessing=PREPROCESSING_VERSION,
        name="",
        version=1,
        masks=None,
    )
    ready = ("encoder=none", "fusion=clinical_only", "learner=second_moments")
    rows = []
    for features in ("radiomics", "three_encoders", "radiomics_encoder"):
        settings = compose_settings([f"features={features}", *ready])
        files = {hash_file(path): path for path in encoder_files(settings)}
        seconds = []
        with tempfile.TemporaryDirectory() as folder:
            site = SimpleNamespace(folder=Path(folder), encoder_file=files.__getitem__)
            for each in (settings, settings, _with_fewer_components(settings)):
                began = time.process_time()
                plan = SimpleNamespace(settings=each)
                np.asarray(load_film_columns(site, plan.settings, cohort)).sum()
                seconds.append(time.process_time() - began)
        share = 100 * seconds[1] / seconds[0]
        first, second, changed = seconds
        rows.append(f"| `{features}` | {first:.2f} | {second:.4f} | {share:.2g} % | {changed:.2f} |")
    return rows


def _with_fewer_components(settings: Settings) -> Settings:
    """The same settings with the token, or the features, of the first source as they are."""
    first, *others = settings.features.sources
    changed = {"components": 0} | ({"spreads": ()} if first.kind == "encoder" else {})
    sources = (first.model_copy(update=changed), *others)
    features = settings.features.model_copy(update={"sources": sources})
    return settings.model_copy(update={"features": features})


def cache_text() -> str:
    """What a cohort's second run costs, as a table."""
    head = (
        f"Columns of {N_FILMS} films of 128 × 128 pixels, seconds of processor time: "
        "a first run, a second one and its share of the first, and a run in which the first source has "
        "other components, which measures its block alone.\n\n"
        "| features | first | second | share | one source changed |\n|---|---|---|---|---|\n"
    )
    return head + "\n".join(cache_rows()) + "\n"


def page() -> str:
    """The whole page."""
    from practice_radiomics import stored

    from shared.features.radiomics.table import feature_names
    from shared.features.radiomics_block import ALL, FILE, LEVELS, is_shape, read_constants
    from shared.signing.canonical import hash_file

    born = stored("answers")["certificate"]
    introduction = INTRODUCTION.format(
        levels=LEVELS,
        tool=born["tool"],
        date=born["date"],
        films=len(stored("films")),
        pixels=PIXELS,
        day=f"{datetime.now(UTC):%Y-%m-%d}",
    )
    head = "| family | features | IBSI | pyradiomics | ms, noise · smooth |\n|---|---|---|---|---|"
    constants = read_constants(hash_file(FILE))
    n_varying = int(((constants.sd > 1e-9) & ~is_shape()).sum())
    held = ", ".join(
        f"{n} hold {constants.variances[:n].sum() / n_varying:.0%}" for n in (4, 8, 16, 32)
    )
    listed = [f"- {family}: {', '.join(feature_names((family,)))}" for family in ALL]
    listed = [line.replace(f"{line[2:].partition(':')[0]}.", "") for line in listed]
    return (
        introduction
        + "\n".join([head, *family_rows()])
        + f"\n\nPublic components of the standardised features on public films: {held} of the variance "
        + f"that {n_varying} features had before their reach of 4 SDs clipped them. Shape is in none: "
        + "a whole film has no shape of its own. Within a mask, features without components hold it, "
        + "in SDs of public vertebrae.\n\n"
        + cache_text()
        + "\n"
        + "\n".join(listed)
        + "\n"
    )


def main() -> None:
    """Compute and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--constants", action="store_true", help="remake the public constants")
    if parser.parse_args().constants:
        from server.encoders.public_radiomics import remake_constants

        sys.stdout.write(f"sha256: {remake_constants()}\n")
        return
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
