"""The motion-corrected cine with its outlines, as a Multi-frame True Color Secondary Capture (PS3.3 A.8.5).

Optional and off by default: it is large, and the cine itself lies in the PACS. JPEG baseline at every n-th frame keeps
it below 50 MB; no number is ever measured on it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from processing.cine import Box, Spacing
from processing.frozen_arrays import frozen_array
from reports.errors import InvalidFindingsError
from reports.findings import Findings
from reports.page import BACKGROUND, COLOURS, TEXT
from reports.response_groups import outlining_models
from reports.result_object import ResultContext, finish, write_body_part
from reports.secondary_capture import source_image_item

MULTI_FRAME_TRUE_COLOR = "1.2.840.10008.5.1.4.1.1.7.4"
TITLE = "Motion-corrected cine"
INDEX = 90
"""Its place in the series of pages: after all of them, however many there are."""
MOST_BYTES = 50_000_000
QUALITY = 88
"""JPEG quality: speckle of an enhanced panel takes about 0.35 bytes a pixel, and no edge of the outline rings."""
SMALLEST_WIDTH_PX = 480
BAND_PX = 44
"""Above the panel: the permitted use, and the time."""
DIMMED = 0.35
"""Frames that no fit used stay in their place, dark: a cine without them would hurry."""


@dataclass(frozen=True, eq=False)
class CineView:
    """Every n-th frame of the contrast panel in the coordinates of the reference frame, as it was displayed.

    pixels: uint8 (frame, z, x, 3). time_s: float64 (frame,) after time zero, evenly spaced. rejected: bool (frame,).
    box: the panel in the full frame.
    """

    pixels: NDArray[np.uint8]
    time_s: NDArray[np.float64]
    rejected: NDArray[np.bool_]
    box: Box

    def __post_init__(self) -> None:
        for name, dtype, axes in (("pixels", np.uint8, 4), ("time_s", np.float64, 1), ("rejected", np.bool_, 1)):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), dtype, axes))
        if not self.pixels.shape[0] == self.time_s.size == self.rejected.size >= 2:
            raise InvalidFindingsError("a cine has a time and a verdict for each of its frames, and two at least")


def cine_capture(view: CineView, findings: Findings, context: ResultContext) -> Dataset:
    """The object. Frames are thinned out further until it is below 50 MB."""
    frames = list(_coded(view, findings, context.disclaimer))
    every = 1
    while sum(map(len, frames[::every])) > MOST_BYTES:
        every += 1
    shown = frames[::every]
    made = _image(shown[0], context)
    made.FrameTime = f"{1000 * every * float(np.diff(view.time_s).mean()):.10g}"
    made.FrameIncrementPointer = 0x00181063
    made.NumberOfFrames = len(shown)
    raw = view.pixels.size // len(frames) * len(shown)
    made.LossyImageCompressionRatio = f"{max(raw / sum(map(len, shown)), 1.0):.4g}"
    made.PixelData = encapsulate(shown)
    made["PixelData"].is_undefined_length = True
    finish(made, context, outlining_models(findings))
    return made


def first_picture(view: CineView, findings: Findings, disclaimer: str) -> NDArray[np.uint8]:
    """The first frame that was measured, as the cine shows it."""
    frame = int(np.argmin(view.rejected))
    return np.asarray(_drawn(view, frame, findings, disclaimer), np.uint8)


def _image(frame: bytes, context: ResultContext) -> Dataset:
    with Image.open(io.BytesIO(frame)) as first:
        columns, rows = first.size
    series = context.series_arguments("sc", "CEUS pictures (research)", INDEX)
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.SOPClassUID, made.SOPInstanceUID = MULTI_FRAME_TRUE_COLOR, series["sop_instance_uid"]
    made.SeriesInstanceUID, made.SeriesNumber = series["series_instance_uid"], series["series_number"]
    made.InstanceNumber, made.SeriesDescription = series["instance_number"], series["series_description"]
    made.Modality, made.ConversionType, made.PatientOrientation = "OT", "WSD", ""
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.BurnedInAnnotation = "NO"  # the panel alone was copied
    made.ImageComments = f"{TITLE}. {context.disclaimer}"[:10240]
    made.DerivationDescription = f"{TITLE}: every n-th frame, moved by whole pixels onto the reference frame"
    made.SourceImageSequence = [source_image_item(context)]
    made.Rows, made.Columns = rows, columns
    made.SamplesPerPixel, made.PlanarConfiguration, made.PhotometricInterpretation = 3, 0, "YBR_FULL_422"
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    made.LossyImageCompression, made.LossyImageCompressionMethod = "01", "ISO_10918_1"
    write_body_part(made, context.source.first)
    return made


def _coded(view: CineView, findings: Findings, disclaimer: str) -> Iterator[bytes]:
    """Frame by frame as JPEG, 4:2:2 as the photometric interpretation says."""
    for frame in range(len(view.pixels)):
        stream = io.BytesIO()
        _drawn(view, frame, findings, disclaimer).save(stream, "JPEG", quality=QUALITY, subsampling=1)
        yield stream.getvalue()


def _drawn(view: CineView, frame: int, findings: Findings, disclaimer: str) -> Image.Image:
    spacing = findings.source.pixel_spacing_mm or Spacing(1.0, 1.0)
    scale_x = max(1.0, SMALLEST_WIDTH_PX / view.box.columns)
    scale_z = scale_x * spacing.z_mm / spacing.x_mm  # square on the screen
    size = round(view.box.columns * scale_x) // 2 * 2, round(view.box.rows * scale_z)
    pixels = view.pixels[frame]
    if view.rejected[frame]:
        pixels = (DIMMED * pixels).astype(np.uint8)
    picture = Image.new("RGB", (size[0], size[1] + BAND_PX), BACKGROUND)
    picture.paste(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR), (0, BAND_PX))
    pen = ImageDraw.Draw(picture)
    for roi in findings.rois:
        if roi.label == "panel" or len(roi.contour_px) < 3:
            continue
        outline = [
            ((x + 0.5 - view.box.x0) * scale_x, (z + 0.5 - view.box.y0) * scale_z + BAND_PX) for x, z in roi.contour_px
        ]
        for colour, width in ((BACKGROUND, 5), (COLOURS[roi.label], 2)):  # dark beside it: seen on bright tissue too
            pen.line([*outline, outline[0]], fill=colour, width=width, joint="curve")
    words = ImageFont.load_default(15)
    state = " · not measured" if view.rejected[frame] else ""
    pen.text((8, 4), disclaimer.splitlines()[0][:60], fill=COLOURS["lesion"], font=words)
    pen.text((8, 23), f"{view.time_s[frame]:.1f} s{state}", fill=TEXT, font=words)
    return picture
