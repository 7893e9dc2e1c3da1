"""Vectors in safetensors files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from server.run.vector_file import open_vectors, write_vectors


def test_vector_files_are_safetensors_that_others_can_read(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    path = tmp_path / "v.safetensors"
    vectors = {"a": np.arange(5, dtype="<f4"), "b": np.zeros(0), "c": np.arange(3, dtype="<f8")}
    write_vectors(path, vectors, text={"note": "x"}, is_durable=True)
    theirs, ours = load_file(path), open_vectors(path)
    for name, vector in vectors.items():
        np.testing.assert_array_equal(theirs[name], vector)
        np.testing.assert_array_equal(ours.vectors[name], vector)
    assert ours.text == {"note": "x"}
