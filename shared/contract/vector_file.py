"""Named vectors, matrices and text in one safetensors file: written streaming, read as memory maps.

A file appears whole or not at all. Reading touches only the pages that are used, so that a robust
rule can walk through the replies of many sites in blocks.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.contract.protocol import Vector
from shared.errors import RunError
from shared.machine.files import sync_folder

_CODES = {"float32": "F32", "float64": "F64"}
_DTYPES: dict[str, type[np.float32] | type[np.float64]] = {"F32": np.float32, "F64": np.float64}


@dataclass(frozen=True)
class VectorFile:
    """What a file holds: memory-mapped vectors by name, and its text by name."""

    vectors: Mapping[str, Vector]
    text: Mapping[str, str]


def write_vectors(
    path: Path, vectors: Mapping[str, Vector], *, text: Mapping[str, str], is_durable: bool
) -> None:
    """Write float32 or float64 vectors or matrices to ``path``, whole or not at all.

    Args:
        is_durable: flush to disk before returning; otherwise the file survives the end of the
            process, but not a power cut.
    """
    header: dict[str, object] = {"__metadata__": dict(text)}
    offset = 0
    for name, vector in vectors.items():
        header[name] = {
            "dtype": _CODES[str(vector.dtype)],
            "shape": list(vector.shape),
            "data_offsets": [offset, offset + vector.nbytes],
        }
        offset += vector.nbytes
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as stream:
        stream.write(len(head).to_bytes(8, "little") + head)
        for vector in vectors.values():
            stream.write(np.ascontiguousarray(vector, vector.dtype.newbyteorder("<")).data)
        stream.flush()
        if is_durable:
            os.fsync(stream.fileno())
    part.replace(path)
    if is_durable:
        sync_folder(path.parent)


def open_vectors(path: Path) -> VectorFile:
    """Map a file written by ``write_vectors``.

    Raises:
        RunError: the file is not one.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError("the header is longer than its file")
            header = json.loads(stream.read(length))
        text = header.pop("__metadata__")
        vectors = {name: _mapped(path, 8 + length, entry) for name, entry in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            "damaged-file",
            f"{path.parent.name}/{path.name} cannot be read: {type(error).__name__}",
            hint="restore the run folder from its backup",
        ) from None
    return VectorFile(vectors=vectors, text=text)


def _mapped(path: Path, start: int, entry: Mapping[str, object]) -> Vector:
    offsets, kind = entry["data_offsets"], _DTYPES[str(entry["dtype"])]
    first, last = (int(offset) for offset in offsets)  # type: ignore[attr-defined]
    dtype = np.dtype(kind).newbyteorder("<")
    shape = tuple(int(length) for length in entry["shape"])  # type: ignore[attr-defined]
    if math.prod(shape) * dtype.itemsize != last - first:
        raise ValueError("a vector's shape is not that of its bytes")
    if first == last:  # nothing can be mapped
        return np.zeros(shape, dtype)
    mapped = np.memmap(path, dtype=dtype, mode="r", offset=start + first, shape=shape)
    vector: Vector = mapped.view(np.ndarray)
    return vector
