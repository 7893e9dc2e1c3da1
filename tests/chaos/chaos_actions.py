"""What a row does, one step after another: type a command, wait for a moment, break something, mend it.

Each step is made by a function here and carried out on a federation; a row is a list of them.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from chaos_federation import TRAIN, Federation, RowError
from chaos_processes import send

from server.run.holder import holder_of

Step = Callable[[Federation], object]


def launch() -> Step:
    """The coordinator launches the run."""
    return lambda it: it.type("launch", it.store.plan.run)


def resume() -> Step:
    """The coordinator resumes the run."""
    return lambda it: it.type("resume", it.store.plan.run)


def validate(stage: str = "internal") -> Step:
    """The coordinator asks for a measure of the release."""
    return lambda it: it.type("validate", it.store.plan.run, stage)


def ends() -> Step:
    """The command that was typed comes to its end by itself."""
    return lambda it: it.wait()


def ctrl_c() -> Step:
    """The operator ends the command that was typed."""
    return lambda it: it.wait(ctrl_c=True)


def committed(number: int) -> Step:
    """Wait until a round is committed."""
    return lambda it: it.until(
        f"round {number}", lambda now: now.store.training.round_folder(number).exists()
    )


def charged(site: str, number: int, stage: str = TRAIN) -> Step:
    """Wait until a site has paid for a round, and is at work on it."""
    return lambda it: it.until(
        f"{site}'s charge of round {number}", lambda now: now.is_charged(site, number, stage)
    )


def answered(site: str, number: int, stage: str = TRAIN) -> Step:
    """Wait until what a site has paid for lies ready."""
    return lambda it: it.until(
        f"{site}'s answer of round {number}", lambda now: now.is_answered(site, number, stage)
    )


def event(code: str) -> Step:
    """Wait until the run's events tell a code."""
    return lambda it: it.until(
        f"event {code}", lambda now: any(each.code == code for each in now.store.events())
    )


def seconds(n: float) -> Step:
    """Let time pass."""
    return lambda _: time.sleep(n)


def kill(part: str, site: str = "") -> Step:
    """SIGKILL to the processes of a part."""
    return _signal(signal.SIGKILL, part, site)


def freeze(part: str, site: str = "") -> Step:
    """SIGSTOP: they are there and do nothing."""
    return _signal(signal.SIGSTOP, part, site)


def thaw(part: str, site: str = "") -> Step:
    """SIGCONT."""
    return _signal(signal.SIGCONT, part, site)


def _signal(number: signal.Signals, part: str, site: str) -> Step:
    def step(it: Federation) -> None:
        found = it.part(part, site)
        if not found:
            raise RowError(f"no process of {part} {site} is there")
        send(number, found)

    return step


def unanswered(site: str, number: int, stage: str = TRAIN) -> Step:
    """The fault has hit a site between its charge and its answer, or the row shows nothing."""

    def step(it: Federation) -> None:
        if it.is_answered(site, number, stage):
            raise RowError(f"{site} had answered round {number} before the fault")

    return step


def serve() -> Step:
    """The coordinator's server is started, or started again."""
    return lambda it: it.serve()


def start(*sites: str) -> Step:
    """Sites are started, or started again, by their hospitals."""
    return lambda it: [it.start(site) for site in sites]


def start_otherwise(site: str, *, env: Mapping[str, str] = {}, program: str = "") -> Step:
    """A site is started with other surroundings, or by another program."""

    def step(it: Federation) -> None:
        library = env.get("LD_PRELOAD", "")
        if library and not Path(library).exists():
            raise RowError(f"{library} is not there: tests/services/install.sh installs it")
        it.start(site, env=env, program=program)

    return step


def stop(site: str) -> Step:
    """A hospital ends its site as it should be ended."""

    def step(it: Federation) -> None:
        send(signal.SIGTERM, it.part("start", site))
        it.until(f"{site}'s end", lambda now: not now.part("site", site))

    return step


def stop_server() -> Step:
    """The coordinator's operator ends `serve`."""

    def step(it: Federation) -> None:
        send(signal.SIGTERM, it.part("serve"))
        it.until("the server's end", lambda now: not now.part("coordinator"))

    return step


def start_by_line(site: str, *, delay_s: float = 0.0, loses: float = 0.0) -> Step:
    """A site is started behind a line of its own, a proxy."""

    def step(it: Federation) -> None:
        it.proxy.delay_s, it.proxy.loses = delay_s, loses
        it.start(site, port=it.proxy.port)

    return step


def cut() -> Step:
    """The line is cut."""
    return lambda it: it.proxy.cut()


def mend() -> Step:
    """The line is there again."""
    return lambda it: it.proxy.mend()


def pause() -> Step:
    """The coordinator pauses the run."""
    return lambda it: it.type_beside("pause", it.store.plan.run)


def revoke(site: str) -> Step:
    """The coordinator revokes a site."""
    return lambda it: it.type_beside("revoke", site)


def released_without(site: str) -> Step:
    """The release names a site that was dropped."""

    def step(it: Federation) -> None:
        text = (it.store.release_folder / "release.json").read_text()
        if site not in text.partition('"dropped"')[2].partition("}")[0]:
            raise RowError(f"the release does not say that {site} was dropped")

    return step


def stop_run(reason: str) -> Step:
    """The coordinator closes the run for good."""
    return lambda it: it.type_beside("stop", it.store.plan.run, "--reason", reason)


def unreleased() -> Step:
    """No release was made of the run."""

    def step(it: Federation) -> None:
        if it.store.release_folder.exists():
            raise RowError("a release was made")

    return step


def back_up(name: str) -> Step:
    """The coordinator's folder is copied, its server's database apart."""
    return lambda it: shutil.copytree(it.home, it.folder / name, ignore=_deployment)


def restore(name: str) -> Step:
    """A copy is put back."""

    def step(it: Federation) -> None:
        for each in it.home.iterdir():
            if each.name != "deployment":
                shutil.rmtree(each) if each.is_dir() else each.unlink()
        shutil.copytree(it.folder / name, it.home, dirs_exist_ok=True)

    return step


def _deployment(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "deployment" and Path(folder).name == "coordinator"]


def small_disk(name: str, *, mib: int) -> Step:
    """A party's folder comes to lie on a disk of its own, a tmpfs: ``coordinator``, or a site."""

    def step(it: Federation) -> None:
        folder = _folder(it, name)
        aside = folder.with_name(f"{folder.name}.aside")
        folder.rename(aside)
        folder.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)], check=False
        )
        if mounted.returncode:
            raise RowError("a small disk is made by root alone: run this row as root")
        it.mounted.append(folder)
        shutil.copytree(aside, folder, dirs_exist_ok=True)

    return step


def fill(name: str) -> Step:
    """Something else fills a party's disk to its last byte."""

    def step(it: Federation) -> None:
        with (_folder(it, name) / "filler").open("wb", buffering=0) as stream:
            for block in (1 << 20, 4096):
                try:
                    while stream.write(bytes(block)) == block:
                        pass
                except OSError:
                    continue

    return step


def free(name: str) -> Step:
    """The disk has room again."""
    return lambda it: (_folder(it, name) / "filler").unlink()


def _folder(it: Federation, name: str) -> Path:
    return it.home if name == "coordinator" else it.sites[name]


def die_at_each_step(bundle: str = "bundle") -> Step:
    """Resume after each death of the ServerApp, until the run has come to its end."""

    def typed(it: Federation, verb: str) -> None:
        env = {"OSTEOFED_CHAOS_BUNDLE": str(it.folder / bundle)}
        it.type(verb, it.store.plan.run, env=env, program="dying_coordinator")

    def step(it: Federation) -> None:
        verb = "launch"
        for number in range(1, it.store.training.stage.rounds + 1):
            typed(it, verb)
            died = it.home / "died" / it.store.plan.run / f"{number}"
            it.until(f"death {number}", lambda now, at=died: at.exists() or not now.is_at_work())
            if not died.exists():
                break
            it.until("that nobody plays", lambda now: not holder_of(now.store, "stage"))
            it.wait(ctrl_c=True)
            it.died.append(died.read_text())
            verb = "resume"
        else:
            typed(it, verb)
        it.wait()

    return step
