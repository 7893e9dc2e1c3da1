"""What an audit is called and how it is written: methods, verdicts, limits and figures, for people.

Imports findings only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from shared.audit.finding import Method, Verdict

METHODS: tuple[Method, ...] = get_args(Method)
MEANING: dict[Method, str] = {
    "recount": (
        "Every signature, charge and epsilon is recomputed from the files that the hospitals and the "
        "coordinator exported. It trusts neither side's computation. Each released total is held to "
        "the noise that was promised, as far as what patients add lets it be seen."
    ),
    "conformance": (
        "Statistics of the noised sums on coordinates that no patient touches: are noise, clip norm "
        "and sampling what the plan says? And the code, tried by force: is what it answers with nobody "
        "fresh noise, and does a patient move a total by one row, whoever else is there?"
    ),
    "canary": (
        "Patients who do not exist take part or not by the toss of a coin. How well the tosses can be "
        "guessed afterwards proves a least epsilon; one above the claim refutes the claim."
    ),
    "membership": (
        "A strong guessing attack: was this patient in training? Its success is held against the most "
        "that the claimed epsilon allows."
    ),
    "inversion": (
        "An attempt to read an input back from an update. It must succeed without noise, which shows "
        "that the attempt is serious, and fail with the plan's noise."
    ),
}
_VERDICTS: dict[Verdict, str] = {"pass": "holds", "fail": "refuted", "not-run": "not examined"}
# An attack that fails proves nothing; only what was recomputed can be said to hold.
_ATTACKS: tuple[Method, ...] = ("conformance", "canary", "membership")
LIMITS = (
    "A method that refutes nothing has not proven a claim; each says how far it could see.",
    "Noise that is missing under what patients add shows in no total: where the power of a part is "
    "below 0.99, canaries decide, and the installed code that was tried by force.",
    "Exports are a hospital's own. A site that runs other code and signs false rows can be caught only "
    "where two sources meet: countersigned heads, the coordinator's run folder, canaries.",
    "No audit here looks at films, clinical rows or member lists; these never leave a hospital.",
    "A person treated at several hospitals is protected at each; for that person the epsilons add up.",
    "An epsilon bounds what can be learned about one patient. It says nothing about how well the model "
    "reads, nor about the security of a hospital's systems.",
)


def write_verdict(verdict: Verdict, method: Method) -> str:
    """A verdict in a reader's word."""
    return "not refuted" if verdict == "pass" and method in _ATTACKS else _VERDICTS[verdict]


def write_scope(not_examined: Sequence[Method]) -> str:
    """How much of an audit was done: by every method, or which ones examined nothing."""
    return f"partial: not used: {', '.join(not_examined)}" if not_examined else "every method was used"


def write_figure(value: float | int | str | None) -> str:
    """A figure as people read it: four digits, hashes cut, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    text = str(value)
    return f"{text[:16]}…" if len(text) == 64 else text


def write_name(name: str) -> str:
    """A figure's short name in words."""
    return name.replace("_", " ")
