"""7,469 headers of real radiographs, and a small film under each.

They are chest films of one archive (Indiana University, open-i.nlm.nih.gov), published de-identified,
as a table in the package torchxrayvision (Apache-2.0). It is read where it is installed; nothing of it
lies here. Pixels are a phantom's, a sixteenth of the header's height and width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom import Dataset, config
from pydicom.datadict import DicomDictionary
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from client.intake.dicom import ALLOWED

TABLE = "torchxrayvision/data/nlmcxr_dicom_metadata.csv.gz"
SMALLER = 16
Header = Mapping[str, str]
_ITEM = re.compile(r"\((\w{4}), (\w{4})\) [^:]+?(\w\w): '([^']*)'")
_LISTED = re.compile(r"'([^']*)'|(\d+)")


def read_headers() -> list[Header]:
    """The texts of every header by attribute name, as the table has them."""
    path = distribution("torchxrayvision").locate_file(TABLE)
    table = pd.read_csv(str(path), dtype=str, keep_default_na=False)
    return [{str(name): str(value) for name, value in row.items()} for row in table.to_dict("records")]


def write_films(headers: list[Header], folder: Path) -> list[Path]:
    """A DICOM file of each header, in order."""
    folder.mkdir()
    paths = []
    for number, header in enumerate(headers):
        paths.append(folder / f"{number:05d}.dcm")
        with config.disable_value_validation():
            film_of(header).save_as(paths[-1], enforce_file_format=True)
    return paths


def film_of(header: Header) -> Dataset:
    """A film with every attribute of a header that an intake looks at."""
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name, keyword, vr in _read_attributes():
        if header.get(name):
            setattr(film, keyword, _value(header[name], vr))
    height, width = int(header["Rows"]) // SMALLER, int(header["Columns"]) // SMALLER
    film.Rows, film.Columns = height, width
    row, column = np.mgrid[0:height, 0:width]
    bright = (1 << int(header["Bits Stored"])) - 1
    pixels = (bright * np.hypot(row / height, column / width) / np.sqrt(2)).astype(np.uint16)
    film.PixelData = pixels.tobytes()
    return film


def _read_attributes() -> Iterator[tuple[str, str, str]]:
    """Name, keyword and representation of what the reader looks at and a header can hold."""
    for vr, _, name, _, keyword in DicomDictionary.values():
        if keyword in ALLOWED and keyword != "PixelData":
            yield name, keyword, vr.split(" ")[0]


def _value(text: str, vr: str) -> object:
    """What the text of a cell was before it became one."""
    if vr in ("SS", "US"):
        return int(text)
    if vr == "SQ":
        item = Dataset()
        for group, element, kind, value in _ITEM.findall(text.partition("(0054, 0222)")[0]):
            item.add_new((int(group, 16), int(element, 16)), kind, value)
        return [item] if len(item) else []
    if text.startswith("["):
        return [quoted or plain for quoted, plain in _LISTED.findall(text)]
    return int(text) if vr == "US" else text
