"""A played hospital's policy: the template, loosened by what was asked for and by no more.

What was changed is said, since a real hospital would have to want it. Imports files only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from shared.machine.files import write_atomic
from shared.machine.terminal import say

APPROVED_BY = "Dana Example"
# Of these a smaller value allows more.
_FLOORS = ("noise_multiplier_floor", "minimum_cell")


def suit_policy(
    path: Path, asked: Mapping[str, float | bool], *, occasion: str, by: str = APPROVED_BY
) -> None:
    """Let a played hospital want what was asked for, and say so when it is unusual.

    Args:
        path: its ``policy.yaml``.
        asked: lines of a policy as the plan needs them.
        occasion: what it is changed for, in words.
        by: who answers for exact releases there.
    """
    policy = yaml.safe_load(path.read_bytes())
    changed: dict[str, object] = {
        name: value for name, value in asked.items() if _is_looser(name, value, policy[name])
    }
    if not changed:
        return
    if "epsilon_per_run" in changed:
        changed["epsilon_lifetime"] = max(policy["epsilon_lifetime"], 3 * asked["epsilon_per_run"])
    if "allows_governed" in changed:
        changed["governed_approved_by"] = by
    say(f"  {path.parent.name}: policy.yaml changed on purpose for {occasion}: {changed}")
    write_atomic(path, yaml.safe_dump(policy | changed, sort_keys=False).encode())


def _is_looser(name: str, asked: float | bool, policy: float | bool) -> bool:
    if isinstance(asked, bool):
        return asked and not policy
    return asked < policy if name in _FLOORS else asked > policy
