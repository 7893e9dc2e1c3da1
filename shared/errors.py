"""The errors of OsteoFed, one tree.

    OsteoFedError                       code          text may stay at a site, the code may leave
    ├── SettingsError                   settings.*    a setting is unknown or out of range
    ├── IntakeError                     intake.*      a film, a row or a whole intake is unusable
    ├── PlanError                       plan.*        a plan is damaged, unsigned or unapproved
    ├── PolicyError                     policy.*      the hospital's policy forbids it
    ├── PrivacyError                    privacy.*     it cannot be done with the promised privacy
    ├── LedgerError                     ledger.*      the ledger is damaged, behind or locked
    ├── ProtocolError                   protocol.*    a message or reply is not what was agreed
    ├── WeightsError                    weights.*     weights do not fit, or their hash differs
    ├── RunError                        run.*         a run folder or a round cannot go on
    ├── EngineError                     engine.*      Flower, a process or a port fails
    └── AuditError                      audit.*       an audit cannot be done with these files

The text is a fact with the received value (never a patient's) and the allowed set; the hint says
what to do. Only ``code`` may cross a hospital's boundary. Imports nothing of the project.
"""

from __future__ import annotations

from typing import ClassVar


class OsteoFedError(Exception):
    """An expected failure: a stable code, a fact, and a hint.

    Args:
        reason: last part of the code, for example ``budget-exhausted``.
        fact: what was found and what is allowed; never a patient's value.
        hint: what to do about it.
    """

    area: ClassVar[str] = "osteofed"

    def __init__(self, reason: str, fact: str, *, hint: str = "") -> None:
        super().__init__(fact)
        self.code = f"{self.area}.{reason}"
        self.fact = fact
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.fact}\n\nhint: {self.hint}" if self.hint else self.fact

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.code.partition(".")[2], self.fact, self.hint))


def _rebuild(kind: type[OsteoFedError], reason: str, fact: str, hint: str) -> OsteoFedError:
    return kind(reason, fact, hint=hint)


class SettingsError(OsteoFedError):
    """A setting is unknown or out of range."""

    area = "settings"


class IntakeError(OsteoFedError):
    """A film, a row or a whole intake is unusable."""

    area = "intake"


class PlanError(OsteoFedError):
    """A plan is damaged, unsigned, or was not approved."""

    area = "plan"


class PolicyError(OsteoFedError):
    """The hospital's own policy forbids it."""

    area = "policy"


class PrivacyError(OsteoFedError):
    """It cannot be done with the promised privacy."""

    area = "privacy"


class LedgerError(OsteoFedError):
    """The ledger is damaged, behind its countersigned head, or locked."""

    area = "ledger"


class ProtocolError(OsteoFedError):
    """A message or a reply is not what was agreed."""

    area = "protocol"


class WeightsError(OsteoFedError):
    """Weights do not fit the model, or their hash differs."""

    area = "weights"


class RunError(OsteoFedError):
    """A run folder or a round cannot go on."""

    area = "run"


class EngineError(OsteoFedError):
    """Flower, a process or a port fails."""

    area = "engine"


class AuditError(OsteoFedError):
    """An audit cannot be done with these files."""

    area = "audit"


def error_of(code: str, fact: str, *, hint: str = "") -> OsteoFedError:
    """The error that another process has told by its code, as a class of its own area."""
    area, _, reason = code.partition(".")
    kinds = {kind.area: kind for kind in OsteoFedError.__subclasses__()}
    return kinds.get(area, OsteoFedError)(reason, fact, hint=hint)
