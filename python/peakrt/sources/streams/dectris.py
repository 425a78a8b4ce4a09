"""DECTRIS Stream V2 and Jungfraujoch's stream: one CBOR map a message.

Fields: github.com/dectris/documentation, stream_v2; compression: cbor/dectris-compression-tag.md there. Jungfraujoch
(Paul Scherrer Institute) sends the same fields and some of its own; it adds "bszstd" and signed pixels.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector, Panel
from peakrt_geometry.checks import CAMERA_LENGTH_M, PHOTON_ENERGY_eV
from peakrt_geometry.panels import HC_EV_M

from . import cbor
from .compression import unpack
from .records import DTYPES, End, Images, Packed, Record, Start, Wanted, count, frame_shape, number, short

log = logging.getLogger("peakrt")
#: Messages of Jungfraujoch that have nothing to do with finding.
_OTHER = {"calibration", "metadata"}
#: Sides of pixels, metres: 5 um to 1 mm cover all X-ray detectors.
_PIXEL_M = (1e-6, 1e-2)


def is_message(parts: Sequence[bytes]) -> bool:
    """Whether a message may be one: a CBOR map."""
    return len(parts) == 1 and len(parts[0]) > 1 and parts[0][0] >> 5 == 5


def decode(parts: Sequence[bytes], wanted: Wanted) -> list[Record]:
    """Record of a message. Raises ValueError for what is not one; wanted.name : the channel (threshold) to take."""
    if len(parts) != 1:
        raise ValueError(f"a message of {len(parts)} parts: Stream V2 sends one (Stream V1 is not read)")
    message = cbor.load(parts[0])
    kind = message.get("type")
    if kind == "start":
        return [_start(message, wanted)]
    if kind == "image":
        return [_image(message, wanted)]
    if kind == "end":
        return [End(_series(message))]
    if isinstance(kind, str) and kind in _OTHER:
        return []
    raise ValueError(f"a message of type {short(kind)}: start, image or end is expected")


def _series(message: dict[str, Any]) -> str:
    series = message.get("series_id")
    return "" if series is None else str(count(series, "series_id"))


def _start(message: dict[str, Any], wanted: Wanted) -> Start:
    name = message.get("image_dtype")
    dtype = DTYPES.get(name) if isinstance(name, str) else None
    nodata = message.get("error_value")
    if not isinstance(nodata, int) and dtype is not None and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        nodata = int(limits.max if dtype.kind == "u" else limits.min)
    return Start(
        series=_series(message),
        detector=_detector(message),
        dtype=dtype,
        mask=_mask(message.get("pixel_mask"), wanted),
        nodata=nodata if isinstance(nodata, int) else None,
        first_id=0,
    )


def _detector(message: dict[str, Any]) -> Detector | None:
    """Flat detector of a start message, None where it lacks its size, the beam centre or the pixels' size."""
    n_fs, n_ss = message.get("image_size_x"), message.get("image_size_y")
    beam_x, beam_y = number(message.get("beam_center_x")), number(message.get("beam_center_y"))
    size_fs = _within(message.get("pixel_size_x"), _PIXEL_M, "pixel_size_x")
    size_ss = _within(message.get("pixel_size_y"), _PIXEL_M, "pixel_size_y") or size_fs
    if n_fs is None or n_ss is None or beam_x is None or beam_y is None or size_fs is None or size_ss is None:
        return None
    n_ss, n_fs = frame_shape([n_ss, n_fs])
    if max(abs(beam_x), abs(beam_y)) > 1e6:
        raise ValueError(f"a start message with the beam at {beam_x:g}, {beam_y:g} pixels")
    settings = {"res": repr(1 / size_fs)}
    saturation = number(message.get("saturation_value"))
    if saturation is not None and saturation > 0:
        settings["max_adu"] = f"{saturation:.10g}"
    panel = Panel(
        name="p0",
        min_ss=0,
        end_ss=n_ss,
        min_fs=0,
        end_fs=n_fs,
        corner_m=(-beam_x * size_fs, -beam_y * size_ss, 0.0),
        ss_m=(0.0, size_ss, 0.0),
        fs_m=(size_fs, 0.0, 0.0),
        dims=("%", "ss", "fs"),
        data="/entry/data/data",
        settings=settings,
    )
    name = message.get("detector_description")
    return Detector(
        (panel,),
        camera_length=_distance(message),
        photon_energy=_energy(message),
        name=name[:80] if isinstance(name, str) else "stream",
    )


def _distance(message: dict[str, Any]) -> float | None:
    """Camera length in metres: Jungfraujoch names it, DECTRIS has it in the translation along the beam."""
    translation = message.get("detector_translation")
    along = translation[2] if isinstance(translation, list | tuple) and len(translation) == 3 else None
    value = message.get("detector_distance", along)
    return _within(value, CAMERA_LENGTH_M, "detector distance")


def _energy(message: dict[str, Any]) -> float | None:
    energy = message.get("incident_energy")
    wavelength = number(message.get("incident_wavelength"))  # angstrom
    if energy is None and wavelength is not None and wavelength > 0:
        energy = HC_EV_M / (wavelength * 1e-10)
    return _within(energy, PHOTON_ENERGY_eV, "incident_energy")


def _within(value: object, bounds: tuple[float, float], what: str) -> float | None:
    """A number within bounds; None, with a warning, for one outside: detectors send 0 for what they are not told."""
    found = number(value)
    if found is None or bounds[0] <= found <= bounds[1]:
        return found
    log.warning("the start message says %s %g: taken for not known", what, found)
    return None


def _mask(masks: object, wanted: Wanted) -> npt.NDArray[np.bool_] | None:
    """Good pixels of the channel; bits that are set say why a pixel is bad."""
    if not isinstance(masks, dict) or not masks:
        return None
    packed = _channel(masks, wanted, "pixel_mask")
    if packed.dtype.kind not in "iu" or packed.shape is None or len(packed.shape) != 2:
        raise ValueError(f"a pixel mask of type {packed.dtype} and shape {packed.shape}")
    good: npt.NDArray[np.bool_] = unpack(packed, packed.shape) == 0
    return good


def _image(message: dict[str, Any], wanted: Wanted) -> Images:
    channels = message.get("data")
    if not isinstance(channels, dict) or not channels:
        raise ValueError(f"an image message whose data are {short(channels)}: a map of channels is expected")
    number_of = count(message.get("image_id"), "image_id")
    series = _series(message)
    return Images(series, (_channel(channels, wanted, "data"),), number_of, (str(number_of),))


def _channel(channels: dict[Any, Any], wanted: Wanted, what: str) -> Packed:
    """Array of the channel that is wanted, or of the first one."""
    name = next(iter(channels)) if wanted.name is None else wanted.name
    if name not in channels:
        raise ValueError(
            f"{what} has no channel {wanted.name!r}: it has {', '.join(short(c) for c in list(channels)[:8])}"
        )
    packed = cbor.array(channels[name])
    assert packed.shape is not None
    if math.prod(packed.shape[:-2]) != 1:
        raise ValueError(f"{what} of shape {packed.shape}: one image is expected")
    return Packed(packed.data, packed.dtype, packed.shape[-2:], packed.algorithm)
