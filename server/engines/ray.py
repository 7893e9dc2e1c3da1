"""The ray engine: the same ServerApp and ClientApp in Flower's own simulation.

Worth it when many simulated sites shall use many cores or machines; the local engine is a hundred
times lighter. Ray's workers find their site folder through an environment variable.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from flwr.app import Context, UserConfig
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from client.site.context import SIMULATED_SITES


def run_ray(
    run_folder: Path,
    site_folders: Mapping[str, Path],
    *,
    stage: str = "train",
    client_app: ClientApp | None = None,
    n_cpus: int | None = None,
) -> None:
    """Run a stage of a run with one simulated SuperNode per site.

    Args:
        site_folders: folder by site name.
        stage: name of one of the plan's stages.
        client_app: another ClientApp than the project's own; workers must be able to import it.
        n_cpus: cores for Ray; all of them by default.

    Raises:
        OsteoFedError: what the ServerApp raises.
    """
    from flwr.simulation import run_simulation

    if client_app is None:
        from client.app import app

        client_app = app
    cpus = n_cpus or os.cpu_count() or 1
    with _announced(site_folders), _without_notices():
        run_simulation(
            _stage_app(run_folder, stage),
            client_app,
            num_supernodes=len(site_folders),
            backend_config={
                "init_args": {"num_cpus": cpus, "log_to_driver": False},
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            },
        )


def _stage_app(run_folder: Path, stage: str) -> ServerApp:
    """The project's ServerApp with the run configuration that this API of Flower cannot pass."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        from server.app import app as server_app

        config: UserConfig = {"run-folder": str(run_folder.resolve()), "stage": stage}
        server_app(grid, replace(context, run_config=config))

    return app


@contextmanager
def _without_notices() -> Iterator[None]:
    """Without what Flower and Ray tell developers at each start: it is for this file, not for users."""

    def is_for_users(record: logging.LogRecord) -> bool:
        return "DEPRECATED FEATURE" not in record.getMessage()

    logger = logging.getLogger("flwr")
    logger.addFilter(is_for_users)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.removeFilter(is_for_users)


@contextmanager
def _announced(site_folders: Mapping[str, Path]) -> Iterator[None]:
    """The site folders in the environment that Ray's workers inherit."""
    os.environ[SIMULATED_SITES] = json.dumps([str(path.resolve()) for path in site_folders.values()])
    try:
        yield
    finally:
        del os.environ[SIMULATED_SITES]
