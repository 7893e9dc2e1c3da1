"""The PACS and the database that the tests of this folder share."""

from practice_services import database, packages, pacs

__all__ = ["database", "packages", "pacs"]
