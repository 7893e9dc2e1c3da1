"""A writer of small, real DICOM radiographs, independent of the project's own generator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

DX = "1.2.840.10008.5.1.4.1.1.1.1"
WriteFilm = Callable[..., Path]


@pytest.fixture
def stored() -> np.ndarray:
    """Stored values [h, w] of 12 bits, with structure so that every codec has work to do."""
    rows, columns = np.mgrid[0:48, 0:40]
    return ((rows * 61 + columns * 37 + rows * columns) % 4096).astype(np.uint16)


@pytest.fixture
def write_film(tmp_path: Path, stored: np.ndarray) -> WriteFilm:
    """Writes a hip film; keyword arguments replace attributes, None deletes one."""

    def write(
        name: str = "film.dcm",
        *,
        pixels: np.ndarray = stored,
        syntax: str = ExplicitVRLittleEndian,
        **attributes: object,
    ) -> Path:
        film = Dataset()
        film.file_meta = FileMetaDataset()
        film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        film.SOPClassUID, film.SOPInstanceUID = DX, generate_uid()
        film.PatientID, film.PatientName = "CANARY-7", "CANARY^NAME"
        film.AcquisitionDate, film.BodyPartExamined = "20200601", "HIP"
        film.ViewPosition, film.ImageLaterality = "AP", "L"
        film.PhotometricInterpretation, film.SamplesPerPixel = "MONOCHROME2", 1
        film.Rows, film.Columns = pixels.shape
        film.BitsAllocated, film.BitsStored, film.HighBit = 16, 12, 11
        film.PixelRepresentation = 0
        film.PixelData = pixels.tobytes()
        for keyword, value in attributes.items():
            if value is None:
                delattr(film, keyword)
            else:
                setattr(film, keyword, value)
        if syntax != ExplicitVRLittleEndian:
            _transcode(film, syntax)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        film.save_as(path, enforce_file_format=True)
        return path

    return write


def _transcode(film: Dataset, syntax: str) -> None:
    native = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"}
    if syntax in native:
        film.file_meta.TransferSyntaxUID = syntax
    else:
        film.compress(syntax)
