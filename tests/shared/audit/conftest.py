"""What the auditor's tests are handed."""

from handed_over import handed, made_run

__all__ = ["handed", "made_run"]
