"""Vector files: whole or absent, mapped where they lie, aligned as safetensors has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.contract.vector_file import open_vectors, write_vectors
from shared.errors import RunError

VECTORS = {
    "weights": np.array([1.5, -2.0, 3.0], dtype="<f4"),
    "memory": np.array([0.1, 0.2]),
    "nothing": np.zeros(0, dtype="<f4"),
}


@pytest.mark.parametrize("is_durable", [True, False])
def test_vectors_and_text_are_read_back_bit_for_bit(tmp_path: Path, is_durable: bool) -> None:
    path = tmp_path / "deep" / "v.safetensors"
    write_vectors(path, VECTORS, text={"round": "2"}, is_durable=is_durable)
    found = open_vectors(path)
    assert found.text == {"round": "2"}
    assert list(found.vectors) == list(VECTORS)
    for name, vector in VECTORS.items():
        assert found.vectors[name].dtype == vector.dtype
        assert found.vectors[name].tobytes() == vector.tobytes()
    assert [each.name for each in path.parent.iterdir()] == ["v.safetensors"]


def test_a_matrix_keeps_its_shape_however_it_lies_in_memory(tmp_path: Path) -> None:
    path, matrix = tmp_path / "v.safetensors", np.arange(6.0).reshape(2, 3)
    for each in (matrix, matrix.T, np.zeros((0, 4))):
        write_vectors(path, {"matrix": each}, text={}, is_durable=False)
        found = open_vectors(path).vectors["matrix"]
        assert found.shape == each.shape
        assert found.tolist() == each.tolist()


@pytest.mark.parametrize("shape", [b"[3,3]", b"[2,4]", b"[5]", b"4", b"null"])
def test_a_shape_that_is_not_that_of_its_bytes_is_refused(tmp_path: Path, shape: bytes) -> None:
    path = tmp_path / "v.safetensors"
    write_vectors(path, {"matrix": np.arange(4.0).reshape(1, 4)}, text={}, is_durable=False)
    content = path.read_bytes()
    assert content.count(b"[1, 4]") == 1
    path.write_bytes(content.replace(b"[1, 4]", shape.ljust(6)))
    with pytest.raises(RunError) as caught:
        open_vectors(path)
    assert caught.value.code == "run.damaged-file"


def test_data_begin_at_a_multiple_of_eight(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    for length in range(8):
        write_vectors(path, VECTORS, text={"x": "a" * length}, is_durable=False)
        head = int.from_bytes(path.read_bytes()[:8], "little")
        assert head % 8 == 0
        assert path.stat().st_size == 8 + head + 3 * 4 + 2 * 8


def test_a_mapped_vector_is_read_only(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    write_vectors(path, VECTORS, text={}, is_durable=False)
    with pytest.raises(ValueError, match="read-only"):
        open_vectors(path).vectors["weights"][0] = 9.0


def test_a_write_that_fails_leaves_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    write_vectors(path, VECTORS, text={}, is_durable=True)
    with pytest.raises(KeyError):
        write_vectors(path, {"x": np.zeros(1, dtype="<i4")}, text={}, is_durable=True)
    assert list(open_vectors(path).vectors) == list(VECTORS)


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"\x02\0\0\0\0\0\0\0[]"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "v.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        open_vectors(path)
    assert caught.value.code == "run.damaged-file"


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
