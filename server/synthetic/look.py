"""How films of a hospital look beside anatomy, as frequencies, and what a film's header tells of it.

Owns the data that ``wear`` draws from and that ``dicom_writer`` writes. Knows no body part. Imports
solids of this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from server.synthetic.solids import Point

ShutterShape = Literal["RECTANGULAR", "CIRCULAR", "POLYGONAL"]
Spacing = Literal["calibrated", "imager", "none"]
Corners = tuple[Point, Point]  # upper left and lower right


@dataclass(frozen=True)
class FilmLook:
    """Shares of a site's films, 0 to 1; the defaults are for hip films and are assumptions.

    Counted in 7,469 headers of public chest films, for comparison: 48 % MONOCHROME1, 35 % without
    View Position, 34 % without Body Part Examined, 34 % without Pixel Spacing; 10, 12, 14, 15 bits.

    Attributes:
        border: has an unexposed border, where the collimator shut out the beam.
        border_added: of these, the border is added around the picture; others cover its edge.
        border_told: of these, the header says where the collimator stood (PS3.3 C.8.7.3).
        shutter: is black or white outside an electronic shutter (PS3.3 C.7.6.11).
        shutter_told: of these, the header says where.
        padding: has strips of padding (PS3.3 C.7.5.1.1.2).
        padding_told: of these, the header says which values they have.
        canvas: lies on a larger, even background that no attribute names.
        marker: shows a lead letter of the side.
        word: has a word burned in, though no patient's, and the header does not say so.
        metal: shows a nail or screws in the bone.
        turned: is stored turned by 90, 180 or 270 degrees; Patient Orientation says so.
        flipped: is stored as seen from behind; Patient Orientation says so.
        monochrome1: low values are shown white.
        linear: values are proportional to exposure, not to its logarithm; shown as MONOCHROME1.
        unequal_pixels: pixels are not square.
        no_orientation: upright, without Patient Orientation.
        no_view: without View Position.
        no_body_part: without Body Part Examined.
        no_spacing: without any spacing of pixels, which only a CR object may lack.
        calibrated: of the others, have Pixel Spacing beside the detector's.
        bits: bits stored, each with its share.
    """

    border: float = 0.30
    border_added: float = 0.40
    border_told: float = 0.40
    shutter: float = 0.06
    shutter_told: float = 0.80
    padding: float = 0.05
    padding_told: float = 0.70
    canvas: float = 0.03
    marker: float = 0.60
    word: float = 0.02
    metal: float = 0.02
    turned: float = 0.03
    flipped: float = 0.02
    monochrome1: float = 0.25
    linear: float = 0.03
    unequal_pixels: float = 0.02
    no_orientation: float = 0.05
    no_view: float = 0.20
    no_body_part: float = 0.05
    no_spacing: float = 0.05
    calibrated: float = 0.50
    bits: tuple[tuple[int, float], ...] = ((10, 0.05), (12, 0.60), (14, 0.15), (15, 0.05), (16, 0.15))


@dataclass(frozen=True)
class Shutter:
    """An electronic shutter on the film, in pixels from the centre of the first one.

    ``points``: upper left and lower right corner, or centre and a point of the rim, or vertices.
    """

    shape: ShutterShape
    points: tuple[Point, ...]
    is_white: bool


@dataclass(frozen=True)
class FilmTags:
    """What a header tells of a film's pixels.

    ``pixel_mm`` is between rows and between columns; ``orientation`` where the row and the column
    lead (PS3.3 C.7.6.1.1.1), None where it is not told; ``padding`` the lowest and the highest value
    that is no picture. Values are meant before MONOCHROME1 inverts them.
    """

    pixel_mm: Point
    orientation: tuple[str, str] | None = ("L", "F")
    bits_stored: int = 12
    is_monochrome1: bool = False
    is_linear: bool = False
    has_view: bool = True
    has_body_part: bool = True
    spacing: Spacing = "imager"
    collimator: Corners | None = None
    shutter: Shutter | None = None
    padding: tuple[int, int] | None = None
