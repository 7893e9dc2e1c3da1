"""What ``make soak`` asks for, what of its figures is allowed, and docs/endurance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SOAK_SITES, SOAK_ROUNDS, WARM_UP = 3, 200, 20
MANY_SITES, MANY_ROUNDS = 50, 5
LARGE_SITES, LARGE_PATIENTS, LARGE_ROUNDS = 3, 60, 2
LARGE_MODEL = ("fusion.width=1024", "fusion.layers=1", "fusion.head_hidden=4096")
MOST_GROWTH, MOST_SLOWER, MOST_APART = 0.02, 0.25, 1e-6
PARTS = ("soak", "local", "ray", "large")


def broken(figures: Mapping[str, Any]) -> list[str]:
    """What was lost, charged twice or grew in the parts that were measured, in words."""
    found = []
    asked = {"soak": SOAK_ROUNDS, "local": MANY_ROUNDS, "ray": MANY_ROUNDS, "large": LARGE_ROUNDS}
    for name, rounds in asked.items():
        part = figures.get(name)
        if part is None:
            continue
        if part["rounds"] != rounds:
            found.append(f"{name}: {part['rounds']} of {rounds} rounds")
        if part["charges"] != [rounds, rounds]:
            found.append(f"{name}: charges of {part['charges']}, {rounds} rounds")
        if part["missed"]:
            found.append(f"{name}: {part['missed']} events of sites")
    if soak := figures.get("soak"):
        if growth(soak) > MOST_GROWTH:
            found.append(f"soak: memory grows by {growth(soak):.1%}, at most {MOST_GROWTH:.0%}")
        slower = soak["late_s"] / soak["early_s"] - 1
        if slower > MOST_SLOWER:
            found.append(f"soak: late rounds take {slower:+.0%}, at most {MOST_SLOWER:.0%}")
    if (apart := _apart(figures)) is not None and apart > MOST_APART:
        found.append(f"Ray's weights differ by {apart:.1e}, at most {MOST_APART:.0e}")
    return found


def growth(soak: Mapping[str, Any]) -> float:
    """Of memory, from the 50th round to the 150th, relative."""
    return float(soak["memory_mib"]["150"] / soak["memory_mib"]["50"] - 1)


def _apart(figures: Mapping[str, Any]) -> float | None:
    """The most by which a weight of the two engines differs; None until both are measured."""
    weights = [figures[name]["weights"] for name in ("local", "ray") if name in figures]
    return float(np.abs(np.subtract(*weights)).max()) if len(weights) == 2 else None


def page(figures: Mapping[str, Any]) -> str:
    """docs/endurance.md."""
    waiting = [name for name in PARTS if name not in figures]
    lines = [
        "# Many rounds, many hospitals, a large model",
        "",
        "Written by `make soak`; nothing here is typed by hand. Memory is that of a process and all",
        "that it started, code apart; what a fork shares counts once.",
        "",
        *([f"**Not measured yet:** {', '.join(waiting)}.", ""] if waiting else []),
        *(_soak_lines(figures["soak"]) if "soak" in figures else []),
        *_many_lines(figures),
        *(_large_lines(figures["large"]) if "large" in figures else []),
    ]
    return "\n".join(lines)


def _measured(part: Mapping[str, Any]) -> str:
    return f"Measured {part['measured']}, on a machine of {part['cores']} cores."


def _soak_lines(soak: Mapping[str, Any]) -> list[str]:
    held = soak["memory_mib"]
    return [
        f"## {soak['sites']} hospitals, {soak['rounds']} rounds",
        "",
        "Under patient-level DP by the local engine: hospitals and coordinator are one process, and",
        f"each round is charged, stored and committed. {_measured(soak)}",
        "",
        f"| after round | {' | '.join(held)} |",
        "|---|" + "---|" * len(held),
        f"| memory, MiB | {' | '.join(f'{mib:.1f}' for mib in held.values())} |",
        "",
        f"From the 50th round to the 150th memory changes by {growth(soak):+.1%} (at most "
        f"{MOST_GROWTH:.0%}).",
        f"Median of a round: {1000 * soak['early_s']:.0f} ms in the first third, "
        f"{1000 * soak['late_s']:.0f} ms in the last",
        f"(at most {MOST_SLOWER:.0%} more). Charges of each ledger: {_range(soak['charges'])}; missed "
        f"replies: {soak['missed']}.",
        "",
    ]


def _many_lines(figures: Mapping[str, Any]) -> list[str]:
    parts = {name: figures[name] for name in ("local", "ray") if name in figures}
    if not parts:
        return []
    apart = _apart(figures)
    return [
        f"## {MANY_SITES} hospitals, {MANY_ROUNDS} rounds",
        "",
        "| engine | seconds | most memory, MiB | rounds | charges of each ledger | missed replies |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {part['seconds']} | {part['peak_mib']} | {part['rounds']} | "
            f"{_range(part['charges'])} | {part['missed']} |"
            for name, part in parts.items()
        ),
        "",
        *(f"{name}: {_measured(part)}" for name, part in parts.items()),
        *(
            []
            if apart is None
            else [
                f"Without noise; weights of the two differ by {apart:.0e} at most "
                f"({MOST_APART:.0e} is allowed)."
            ]
        ),
        "",
    ]


def _large_lines(large: Mapping[str, Any]) -> list[str]:
    of_rounds = " and ".join(f"{each:.0f} s" for each in large["seconds"])
    return [
        f"## A model of {large['model_mb']:.0f} MB",
        "",
        f"{large['n_weights']:,} weights (`{' '.join(LARGE_MODEL)}`),",
        f"over a SuperLink with TLS, {large['sites']} SuperNodes and their executors, under ε = "
        f"{large['epsilon']:.2f},",
        f"{LARGE_PATIENTS} patients each. Rounds: {large['rounds']}, in {of_rounds}; the first with",
        f"start-up. Charges of each ledger: {_range(large['charges'])}; missed replies: "
        f"{large['missed']}. All processes",
        f"together held {large['peak_mib']:,} MiB at most. Such a model is no good with so few",
        f"patients: it is here for its size. {_measured(large)}",
        "",
    ]


def _range(found: Sequence[int]) -> str:
    least, most = found
    return str(least) if least == most else f"{least} to {most}"
