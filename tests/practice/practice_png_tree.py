"""The schema of trees of PNG files, and what writes such a tree."""

from __future__ import annotations

from server.federation.compose import cohort_file
from server.synthetic.phantoms.tree import write_png, write_tree
from shared.exam.schema import read_schema

MURA_WRIST = read_schema(cohort_file("mura_wrist"))

__all__ = ["MURA_WRIST", "write_png", "write_tree"]
