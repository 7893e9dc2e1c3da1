"""Masks as hospitals write them: PNG files, and DICOM Segmentation objects by pydicom alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import pack_bits
from pydicom.sequence import Sequence
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SegmentationStorage,
    generate_uid,
)


def write_png(path: Path, levels: np.ndarray) -> Path:
    """A grey PNG; of a mask with 255 where it is True."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = levels.astype(np.uint8) * 255 if levels.dtype == np.bool_ else levels.astype(np.uint8)
    Image.fromarray(grey).save(path)
    return path


def item(**attributes: object) -> Dataset:
    """A data set of these attributes; one in a sequence."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def write_seg(
    path: Path, masks: Mapping[tuple[str, str], np.ndarray], kind: str = "BINARY", patient: str = "P1"
) -> Path:
    """A Segmentation (PS3.3 A.51) with a frame for each mask, by (SOP Instance UID, segment label)."""
    labels = list(dict.fromkeys(label for _, label in masks))
    films = list(dict.fromkeys(film for film, _ in masks))
    frames = np.stack(list(masks.values()))
    seg = Dataset()
    seg.file_meta = FileMetaDataset()
    seg.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    seg.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    seg.file_meta.MediaStorageSOPInstanceUID = seg.SOPInstanceUID = generate_uid()
    seg.SOPClassUID, seg.Modality, seg.SeriesInstanceUID = SegmentationStorage, "SEG", generate_uid()
    seg.PatientID, seg.PatientName, seg.StudyInstanceUID = patient, "CANARY^NAME", generate_uid()
    seg.ImageType, seg.ContentLabel = ["DERIVED", "PRIMARY"], "BONES"
    seg.NumberOfFrames, seg.Rows, seg.Columns = frames.shape
    seg.SamplesPerPixel, seg.PhotometricInterpretation = 1, "MONOCHROME2"
    seg.PixelRepresentation, seg.SegmentationType = 0, kind
    is_binary = kind == "BINARY"
    seg.BitsAllocated = seg.BitsStored = 1 if is_binary else 8
    seg.HighBit = seg.BitsStored - 1
    if not is_binary:
        seg.SegmentationFractionalType, seg.MaximumFractionalValue = "PROBABILITY", 200
    grey = frames.astype(np.uint8)
    seg.PixelData = pack_bits(grey.ravel()) if is_binary else _even((grey * 180 + 20).tobytes())
    images = [_reference(film) for film in films]
    seg.ReferencedSeriesSequence = Sequence(
        [item(SeriesInstanceUID=generate_uid(), ReferencedInstanceSequence=Sequence(images))]
    )
    seg.SegmentSequence = Sequence(
        item(SegmentNumber=n, SegmentLabel=label, SegmentAlgorithmType="MANUAL")
        for n, label in enumerate(labels, start=1)
    )
    seg.PerFrameFunctionalGroupsSequence = Sequence(
        item(
            SegmentIdentificationSequence=Sequence(
                [item(ReferencedSegmentNumber=labels.index(label) + 1)]
            ),
            DerivationImageSequence=Sequence([item(SourceImageSequence=Sequence([_reference(film)]))]),
        )
        for film, label in masks
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    seg.save_as(path, enforce_file_format=True)
    return path


def _reference(film: str) -> Dataset:
    return item(
        ReferencedSOPClassUID=DigitalXRayImageStorageForPresentation, ReferencedSOPInstanceUID=film
    )


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)
