from practice_commands import make_coordinator

__all__ = ["make_coordinator"]
