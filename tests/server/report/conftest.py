"""A finished run for the report's tests."""

from practice_results import described_results, results, without_privacy

__all__ = ["described_results", "results", "without_privacy"]
