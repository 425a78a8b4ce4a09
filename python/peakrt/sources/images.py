"""Single-image files: CBF and whatever else fabio reads, and their headers' geometry.

CBFs with packed compression, which fabio leaves out, are read with pycbf (``pip install peakrt[cbf]``).
"""

from __future__ import annotations

import bz2
import gzip
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector, Panel
from peakrt_geometry.panels import HC_EV_M

from ..event import Event
from .hdf5 import flag_pixels

SUFFIXES = (
    ".cbf",
    ".tif",
    ".tiff",
    ".edf",
    ".img",
    ".mccd",
    ".marccd",
    ".sfrm",
    ".mar3450",
    ".mar2300",
    ".gfrm",
)
_PACKED = b"x-CBF_PACKED"


def is_image(path: Path) -> bool:
    """Whether a file name is that of a single-image format, compressed or not."""
    name = path.name.lower()
    for suffix in (".gz", ".bz2"):
        name = name.removesuffix(suffix)
    return name.endswith(SUFFIXES)


def read_image(path: Path, detector: Detector) -> Event:
    """Read one image file.

    Pixels below zero in signed data are bad (DECTRIS), and so is the highest value of unsigned data, zero in
    CBFs with a full imgCIF header (Rayonix), and what the geometry flags.
    Raises OSError for a file that is missing or unreadable, ValueError for a shape that is not the geometry's.
    """
    plane, header = _load(path)
    n_ss, n_fs = detector.shape[1:]
    if plane.shape != (n_ss, n_fs) or detector.shape[0] != 1:
        raise ValueError(
            f"{path} has {plane.shape[0]} x {plane.shape[1]} pixels, geometry {detector.name} needs {n_ss} x {n_fs}"
        )
    bad = _no_data(plane, header)
    for panel in detector.panels:
        flagged = flag_pixels(plane, panel)
        if flagged is not None:
            bad = bad | flagged
    length = detector.camera_length if isinstance(detector.camera_length, int | float) else None
    energy = detector.photon_energy if isinstance(detector.photon_energy, int | float) else None
    return Event(plane[None], ~bad[None], str(path), "", length, energy)


def _no_data(plane: npt.NDArray[Any], header: str) -> npt.NDArray[np.bool_]:
    bad = plane == np.iinfo(plane.dtype).max if plane.dtype.kind == "u" else plane < 0
    if "_array_intensities" in header:
        bad |= plane == 0
    return bad


def image_detector(path: Path) -> Detector:
    """Detector of a CBF from its header: DECTRIS's mini-CBF, or imgCIF axes. ValueError if it has neither."""
    plane, header = _load(path)
    if "Beam_xy" in header:
        return _mini_cbf(header, plane.shape, path)
    if "_array_structure_list_axis" in header:
        return _with_plain_file(path, lambda plain: _imgcif(plain, path, plane.shape))
    raise ValueError(f"{path} does not describe its detector: give a CrystFEL geometry with -g")


def _load(path: Path) -> tuple[npt.NDArray[Any], str]:
    raw = _bytes(path)
    header = raw[: raw.find(b"\x0c\x1a\x04\xd5")].decode("latin1") if raw[:200].find(b"CBF") >= 0 else ""
    if _PACKED in raw[:200000]:
        return _with_plain_file(path, _load_packed), header
    import fabio  # imported late: it takes half a second

    try:
        with fabio.open(str(path)) as image:
            plane = np.asarray(image.data)
    except Exception as error:  # fabio raises whatever its readers met
        raise OSError(
            f"{path} cannot be read as an image: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    if plane is None or plane.ndim != 2:
        raise OSError(f"{path} holds no 2-D image")
    return plane, header


def _bytes(path: Path) -> bytes:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
        with openers.get(path.suffix, open)(path, "rb") as file:
            return bytes(file.read())
    except (OSError, EOFError) as error:
        raise OSError(f"{path} cannot be read: {error}") from error


def _with_plain_file(path: Path, use: Callable[[Path], Any]) -> Any:
    """Call use with an uncompressed file, which pycbf wants."""
    if path.suffix not in (".gz", ".bz2"):
        return use(path)
    with tempfile.NamedTemporaryFile(suffix=".cbf") as plain:
        plain.write(_bytes(path))
        plain.flush()
        return use(Path(plain.name))


def _open_pycbf(path: Path) -> Any:
    try:
        import pycbf
    except ImportError:
        raise OSError(f"{path} is a CBF with packed compression: pip install 'peakrt[cbf]' to read it") from None
    handle = pycbf.cbf_handle_struct()
    handle.read_widefile(str(path).encode(), pycbf.MSG_DIGEST)
    return handle


def _load_packed(path: Path) -> npt.NDArray[Any]:
    handle = _open_pycbf(path)
    handle.find_category(b"array_data")
    handle.find_column(b"data")
    handle.select_row(0)
    _, _, size, signed, _, _, _, _, _, n_fs, n_ss, n_panel, _ = handle.get_integerarrayparameters_wdims()
    kind = np.dtype(f"{'i' if signed else 'u'}{size}")
    pixels = np.frombuffer(handle.get_integerarray_as_string(), kind)
    if n_panel > 1:
        raise OSError(f"{path} holds {n_panel} panels; only one-panel CBFs are read")
    return pixels.reshape(n_ss, n_fs)


def _value(header: str, pattern: str) -> tuple[float, ...] | None:
    match = re.search(pattern, header)
    return tuple(float(text) for text in match.groups()) if match else None


def _mini_cbf(header: str, shape: tuple[int, ...], path: Path) -> Detector:
    number = r"([-+\d.eE]+)"
    beam = _value(header, rf"Beam_xy\s*\(\s*{number},\s*{number}\)")
    pixel = _value(header, rf"Pixel_size\s+{number}\s*m")
    if beam is None or pixel is None:
        raise ValueError(f"{path}: the header has no beam centre or pixel size: give a CrystFEL geometry with -g")
    distance = _value(header, rf"Detector_distance\s+{number}")
    wavelength = _value(header, rf"Wavelength\s+{number}")
    return _flat(
        path.name,
        shape,
        pixel[0],
        beam,
        distance[0] if distance else None,
        wavelength[0] if wavelength else None,
    )


def _flat(
    name: str,
    shape: tuple[int, ...],
    size: float,
    beam: tuple[float, ...],
    distance: float | None,
    wavelength_A: float | None,
) -> Detector:
    panel = Panel(
        "p0", 0, shape[0], 0, shape[1], (-beam[0] * size, -beam[1] * size, 0.0), (0.0, size, 0.0), (size, 0.0, 0.0),
        settings={"res": repr(1 / size)},
    )  # fmt: skip
    energy = HC_EV_M / (wavelength_A * 1e-10) if wavelength_A else None
    # mini-CBF is what counting detectors write: an ADU is a photon
    return Detector((panel,), camera_length=distance, photon_energy=energy, adu_per_photon=1.0, name=name)


def _imgcif(plain: Path, path: Path, shape: tuple[int, ...]) -> Detector:
    handle = _open_pycbf(plain)
    detector = handle.construct_detector(0)
    origin, ss_one, fs_one = (
        np.array(detector.get_pixel_coordinates(*pixel)) * 1e-3 for pixel in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    )
    # imgCIF looks from the sample to the source along +z: turn about y to CrystFEL's beam along +z.
    turn = np.array([-1.0, 1.0, -1.0])
    ss, fs = (ss_one - origin) * turn, (fs_one - origin) * turn
    corner = origin * turn - (ss + fs) / 2
    distance = float(corner[2])
    size = float(np.linalg.norm(fs))
    panel = Panel(
        "p0", 0, shape[0], 0, shape[1], (float(corner[0]), float(corner[1]), 0.0),
        (float(ss[0]), float(ss[1]), float(ss[2])), (float(fs[0]), float(fs[1]), float(fs[2])),
        settings={"res": repr(1 / size)},
    )  # fmt: skip
    energy = HC_EV_M / (handle.get_wavelength() * 1e-10)
    return Detector((panel,), camera_length=distance, photon_energy=energy, name=path.name)
