"""Where tokens of a cohort's films lie, and under which name: cohort, encoder, grid.

A new version of a cohort, or new weights, has another name, so that neither meets stale tokens.
Imports the cohort and the site, no torch.
"""

from __future__ import annotations

from pathlib import Path

from client.cohort.folder import Cohort
from client.site.folder import Site
from shared.contract.plan import Plan

_LENGTH = 32  # hexadecimal digits of a hash in a name


def token_file(site: Site, plan: Plan, cohort: Cohort) -> Path:
    """Where the tokens are that a plan's encoder makes of a cohort's films, or will be."""
    encoder = str(plan.encoder_sha256)[:_LENGTH]
    name = f"{_of_cohort(cohort)}-{encoder}-{plan.settings.encoder.token_grid}.npy"
    return _folder(site) / name


def delete_tokens(site: Site, cohort: Cohort) -> None:
    """Delete what any encoder has made of a cohort's films."""
    for path in _folder(site).glob(f"{_of_cohort(cohort)}-*"):
        path.unlink()


def _folder(site: Site) -> Path:
    return site.folder / "cache" / "tokens"


def _of_cohort(cohort: Cohort) -> str:
    return cohort.fingerprint[:_LENGTH]
