"""CBFs of many panels and of every compression, and damaged images of every format: none takes the job down."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import random
import re
import signal
import threading
import tracemalloc
from pathlib import Path

import fabio
import numpy as np
import pytest

from peakrt.cli import main
from peakrt.sources import image_client, open_source
from peakrt.sources.cbf import read_cif
from peakrt.sources.image_client import READER
from peakrt.sources.images import image_detector, read_image
from peakrt_geometry import Detector
from peakrt_geometry.crystfel import parse_geom

from .conftest import SMALL_GEOM

RNG = np.random.default_rng(7)
N_SS, N_FS, SIZE_MM = 30, 40, 0.1


# A detector of two arrays as the imgCIF dictionary describes one: each turned, moved, and tilted

HEAD = """###CBF: VERSION 1.5
data_two
_diffrn.id DS1
_diffrn_detector.diffrn_id DS1
_diffrn_detector.id DET
_diffrn_detector.number_of_axes 4
loop_
_diffrn_detector_axis.detector_id
_diffrn_detector_axis.axis_id
 DET ARM
 DET 'T 0'
 DET TILT0
 DET T1
loop_
_diffrn_detector_element.id
_diffrn_detector_element.detector_id
 E0 DET
 E1 DET
loop_
_diffrn_data_frame.id
_diffrn_data_frame.detector_element_id
_diffrn_data_frame.array_id
_diffrn_data_frame.binary_id
 FRAME1 E0 A0 1
 FRAME1 E1 A1 2
{structure}
loop_
_array_structure_list_axis.axis_set_id
_array_structure_list_axis.axis_id
_array_structure_list_axis.displacement
_array_structure_list_axis.displacement_increment
{steps}
loop_
_axis.id
_axis.type
_axis.equipment
_axis.depends_on
_axis.vector[1]
_axis.vector[2]
_axis.vector[3]
_axis.offset[1]
_axis.offset[2]
_axis.offset[3]
 SOURCE general source . 0 0 1 . . .
 GRAVITY general gravity . 0 -1 0 . . .
 ARM translation detector . 0 0 1 0 0 0
 'T 0' rotation detector ARM 0 0 1 -2.5 1.5 0
 TILT0 rotation detector 'T 0' 1 0 0 0 0 0
 T1 rotation detector ARM 0 0 1 2.5 1.5 -1.25
{axes}
loop_
_diffrn_scan_axis.axis_id
_diffrn_scan_axis.scan_id
_diffrn_scan_axis.angle_start
_diffrn_scan_axis.angle_range
_diffrn_scan_axis.angle_increment
_diffrn_scan_axis.displacement_start
_diffrn_scan_axis.displacement_range
_diffrn_scan_axis.displacement_increment
{scan}
loop_
_diffrn_scan_frame_axis.axis_id
_diffrn_scan_frame_axis.frame_id
_diffrn_scan_frame_axis.angle
_diffrn_scan_frame_axis.displacement
 SOURCE FRAME1 0 0
 GRAVITY FRAME1 0 0
 ARM FRAME1 0 -120.0
 "T 0" FRAME1 90.25 0
 TILT0 FRAME1 0.5 0
 T1 FRAME1 -0.75 0
{settings}
_diffrn_scan.id SCAN1
_diffrn_scan.frame_id_start FRAME1
_diffrn_scan.frame_id_end FRAME1
_diffrn_scan.frames 1
_diffrn_scan_frame.frame_id FRAME1
_diffrn_scan_frame.frame_number 1
_diffrn_scan_frame.scan_id SCAN1
_diffrn_radiation.wavelength_id W1 # the only one
_diffrn_radiation_wavelength.id W1
_diffrn_radiation_wavelength.wavelength 1.3
loop_
_array_intensities.array_id
_array_intensities.undefined_value
 A0 -400
 A1 -400
loop_
_array_data.array_id
_array_data.binary_id
_array_data.data
"""
STRUCTURE = """loop_
_array_structure_list.array_id
_array_structure_list.index
_array_structure_list.dimension
_array_structure_list.precedence
_array_structure_list.direction
_array_structure_list.axis_set_id
""" + "".join(f" A{n} 1 {N_FS} 1 increasing F{n}\n A{n} 2 {N_SS} 2 increasing S{n}\n" for n in (0, 1))
SECTIONS = """loop_
_array_structure_list.array_id
_array_structure_list.array_section_id
_array_structure_list.index
_array_structure_list.dimension
_array_structure_list.precedence
_array_structure_list.direction
_array_structure_list.axis_set_id
 A . 1 40 1 increasing .
 A . 2 30 2 increasing .
 A . 3 2 3 increasing .
 A P0 1 40 1 increasing F0
 A P0 2 30 2 increasing S0
 A P1L 1 20 1 increasing F1
 A P1L 2 30 2 increasing S1
 A P1R 1 20 1 increasing FR
 A P1R 2 30 2 increasing SR
loop_
_array_structure_list_section.array_id
_array_structure_list_section.id
_array_structure_list_section.index
_array_structure_list_section.start
_array_structure_list_section.end
 A P0 1 1 40
 A P0 2 1 30
 A P0 3 1 1
 A P1L 1 1 20
 A P1L 2 1 30
 A P1L 3 2 2
 A P1R 1 21 40
 A P1R 2 1 30
 A P1R 3 2 2
"""


def header(*, sections: bool) -> str:
    names = {"0": ("TILT0", -2.0), "1": ("T1", -2.0)} | ({"R": ("T1", 0.0)} if sections else {})
    axes = "".join(
        f" S{n} translation detector {on if ' ' not in on else repr(on)} 0 -1 0 {x} 1.5 0\n"
        f" F{n} translation detector S{n} 1 0 0 0 0 0\n"
        for n, (on, x) in names.items()
    )
    text = HEAD.format(
        structure=SECTIONS if sections else STRUCTURE,
        steps="".join(f" {a}{n} {a}{n} 0.0 {SIZE_MM}\n" for n in names for a in "FS"),
        axes=axes,
        scan="".join(
            f" {name} SCAN1 0 0 0 0 0 0\n"
            for name in ("SOURCE", "GRAVITY", "ARM", "'T 0'", "TILT0", "T1", *(a + n for n in names for a in "FS"))
        ),
        settings="".join(f" {a}{n} FRAME1 0 0\n" for n in names for a in "FS"),
    )
    return re.sub("\n\n+", "\n", text)


def binary(pixels: np.ndarray, number: int) -> bytes:
    """One array in a binary section, compressed by fabio."""
    packed = fabio.compression.compByteOffset(pixels.ravel())
    sizes = zip(("Fastest", "Second", "Third"), pixels.shape[::-1], strict=False)
    lines = [
        ";",
        "--CIF-BINARY-FORMAT-SECTION--",
        "Content-Type: application/octet-stream;",
        '     conversions="x-CBF_BYTE_OFFSET"',
        "Content-Transfer-Encoding: BINARY",
        f"X-Binary-Size: {len(packed)}",
        f"X-Binary-ID: {number}",
        'X-Binary-Element-Type: "signed 32-bit integer"',
        "X-Binary-Element-Byte-Order: LITTLE_ENDIAN",
        f"X-Binary-Number-of-Elements: {pixels.size}",
        *(f"X-Binary-Size-{axis}-Dimension: {n}" for axis, n in sizes),
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + b"\x0c\x1a\x04\xd5" + packed + b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n"


def frames() -> np.ndarray:
    pixels = RNG.poisson(20, (2, N_SS, N_FS)).astype(np.int32) - 10
    pixels[0, 3, 4], pixels[1, 5, 6] = 70_000, -1000
    return pixels


def write_two_arrays(path: Path, pixels: np.ndarray) -> None:
    body = b"".join(f" A{n} {n + 1}\r\n".encode() + binary(pixels[n], n + 1) for n in (0, 1))
    path.write_bytes(header(sections=False).replace("\n", "\r\n").encode() + body)


def write_sections(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(header(sections=True).encode() + b" A 1\n" + binary(pixels, 1))


def pack(path: Path, packed: Path) -> None:
    """The same file with CBFlib's packed compression, written by CBFlib."""
    pycbf = pytest.importorskip("pycbf")
    cbf = pycbf.cbf_handle_struct()
    cbf.read_widefile(str(path).encode(), pycbf.MSG_DIGEST)
    cbf.find_category(b"array_data")
    cbf.find_column(b"data")
    for row in range(cbf.count_rows()):
        cbf.select_row(row)
        p = cbf.get_integerarrayparameters_wdims()
        pixels = cbf.get_integerarray_as_string()
        cbf.set_integerarray_wdims_fs(
            pycbf.CBF_PACKED, p[1], pixels, p[2], p[3], p[5], b"little_endian", p[9], p[10], 1, 0
        )
    cbf.write_widefile(str(packed).encode(), pycbf.CBF, pycbf.MIME_HEADERS | pycbf.MSG_DIGEST, pycbf.ENC_NONE)


@pytest.mark.parametrize("packed", [False, True], ids=["byte offset", "packed"])
def test_arrays_with_axes_of_their_own(packed: bool, tmp_path: Path) -> None:
    """Positions and pixels by CBFlib, whose positions are those of pixels' centres if ours are of their corners."""
    pycbf = pytest.importorskip("pycbf")
    pixels, path = frames(), tmp_path / "two.cbf"
    write_two_arrays(path, pixels)
    if packed:
        pack(path, tmp_path / "packed.cbf")
        path = tmp_path / "packed.cbf"
        assert b"x-CBF_PACKED" in path.read_bytes()
    (event,) = open_source([str(path)]).events()
    np.testing.assert_array_equal(event.frame, pixels)
    assert event.mask is not None
    assert np.argwhere(~event.mask).tolist() == [[1, 5, 6]]  # below undefined_value; negative pixels are data
    detector = image_detector(path)
    assert detector.camera_length == pytest.approx(0.12, abs=2e-3)
    assert detector.photon_energy == pytest.approx(12398.42 / 1.3, rel=1e-6)
    cbf = pycbf.cbf_handle_struct()
    cbf.read_widefile(str(path).encode(), pycbf.MSG_DIGEST)
    for number, panel in enumerate(detector.panels):
        element = cbf.construct_detector(number)
        for ss, fs in ((0, 0), (N_SS, 0), (0, N_FS), (11.5, 3.25)):
            theirs = np.array(element.get_pixel_coordinates_fs(fs, ss)) * [-1e-3, 1e-3, -1e-3]
            ours = np.array(panel.corner_m) + ss * np.array(panel.ss_m) + fs * np.array(panel.fs_m)
            np.testing.assert_allclose(ours + [0, 0, detector.camera_length], theirs, atol=1e-9)


def test_sections_of_an_array(tmp_path: Path) -> None:
    """An array of planes cut into sections, as cctbx writes a quadrant of a CSPAD, is the detector of single arrays."""
    pixels = frames()
    write_two_arrays(tmp_path / "arrays.cbf", pixels)
    write_sections(tmp_path / "sections.cbf", pixels)
    arrays, sections = image_detector(tmp_path / "arrays.cbf"), image_detector(tmp_path / "sections.cbf")
    assert [p.name for p in sections.panels] == ["p0a0", "p1a0", "p1a1"]
    assert sections.shape == arrays.shape == (2, N_SS, N_FS)
    for name in ("x_m", "y_m", "z_offset_m"):
        np.testing.assert_allclose(getattr(sections, name), getattr(arrays, name), atol=1e-8)
    (event,) = open_source([str(tmp_path / "sections.cbf")]).events()
    np.testing.assert_array_equal(event.frame, pixels)
    slab = sections.as_slab("/data", ("ss", "fs"))
    np.testing.assert_array_equal(read_image(tmp_path / "sections.cbf", slab).frame[0], pixels.reshape(-1, N_FS))
    with pytest.raises(ValueError, match="2 x 30 x 40 pixels, geometry small.geom needs 256 x 256"):
        read_image(tmp_path / "sections.cbf", parse_geom(SMALL_GEOM, name="small.geom"))


def test_peaks_of_many_panels(tmp_path: Path) -> None:
    write_sections(tmp_path / "a.cbf", frames())
    command = [
        "find",
        str(tmp_path / "a.cbf"),
        "-o",
        str(tmp_path / "a.cxi"),
        "--events",
        "all",
        "--finder",
        "peakfinder8",
    ]
    assert main(command) == 0


def test_words_of_cif() -> None:
    tables = read_cif(
        "data_x\n_a.one 'it is' # no\n_a.two\n;text\nof two lines\n;\nloop_\n_b.x\n_b.y\n 1 \"2 3\"\n '4#' 5\n_c.d ?\n"
    )
    assert tables["a"] == [{"one": "it is", "two": "text\nof two lines\n"}]
    assert tables["b"] == [{"x": "1", "y": "2 3"}, {"x": "4#", "y": "5"}]
    assert tables["c"] == [{"d": "?"}]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ARM translation detector .", "ARM translation detector T1", "depends on itself"),
        ("T1 rotation detector ARM", "T1 rotation detector LEG", "LEG is not described"),
        (" F1 F1 0.0 0.1", " F1 F1 0.0 0.0", "no pixels"),
        (" S1 S1 0.0 0.1", " S1 F1 0.0 0.1", "no pixels"),
        ("120.0", "120000", "camera length"),
        ("wavelength 1.3", "wavelength 0.00001", "photon energy"),
        ("wavelength 1.3", "wavelength nan", "for a number"),
        ("A P1R 1 21 40", "A P1R 1 21 41", "outside"),
        ("_axis.id", "_wheel.id", "lacks _axis"),
    ],
)
def test_headers_that_describe_no_detector(old: str, new: str, message: str, tmp_path: Path) -> None:
    write_sections(tmp_path / "a.cbf", frames())
    raw = (tmp_path / "a.cbf").read_bytes()
    assert old.encode() in raw
    (tmp_path / "a.cbf").write_bytes(raw.replace(old.encode(), new.encode()))
    with pytest.raises(ValueError, match=message) as caught:
        image_detector(tmp_path / "a.cbf")
    assert str(caught.value).startswith(str(tmp_path / "a.cbf"))


# Damage


def small_images(folder: Path) -> dict[str, bytes]:
    frame = RNG.poisson(20, (60, 50)).astype(np.int32)
    frame[RNG.random(frame.shape) < 0.02] = 70_000
    writers = {"cbf": fabio.cbfimage.CbfImage, "edf": fabio.edfimage.EdfImage, "tif": fabio.tifimage.TifImage}
    images = {}
    for suffix, writer in writers.items():
        writer(data=frame).write(str(folder / f"whole.{suffix}"))
        images[suffix] = (folder / f"whole.{suffix}").read_bytes()
    images["cbf.gz"], images["cbf.bz2"] = gzip.compress(images["cbf"]), bz2.compress(images["cbf"])
    write_two_arrays(folder / "two.cbf", frames())
    pack(folder / "two.cbf", folder / "packed.cbf")
    images["packed.cbf"] = (folder / "packed.cbf").read_bytes()
    return images


def mutant(whole: bytes, draw: random.Random) -> bytes:
    """The file cut, or with other bytes, another number in its header, or a piece missing."""
    raw, kind, head = bytearray(whole), draw.randrange(5), min(len(whole), 4000)
    if kind == 0:
        del raw[draw.randrange(len(raw)) :]
    elif kind == 1:
        numbers = [match.span() for match in re.finditer(rb"\d+", bytes(raw[:head]))] or [(0, 1)]
        first, end = draw.choice(numbers)
        raw[first:end] = draw.choice([b"0", b"-1", b"99999999999", b"4294967296", b"2147483647", b"nan", b""])
    elif kind == 2:
        first = draw.randrange(head)
        del raw[first : first + draw.randrange(1, 200)]
    else:
        for _ in range(draw.choice([1, 3, 30])):
            raw[draw.randrange(head if kind == 3 else len(raw))] = draw.randrange(256)
    return bytes(raw)


def test_damaged_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_client, "TIME_LIMIT_S", 3.0)
    geometry = flat(60, 50)
    draw = random.Random(5)
    for suffix, whole in small_images(tmp_path).items():
        path = tmp_path / f"damaged.{suffix}"
        for number in range(25):
            path.write_bytes(mutant(whole, draw))
            try:
                read_image(path, image_detector(path) if "cbf" in suffix and number % 2 else geometry)
            except (OSError, ValueError) as error:
                said = str(error)
            else:
                continue
            assert str(path) in said, number
            assert "\n" not in said


def test_claims_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    images = small_images(tmp_path)
    path = tmp_path / "a.cbf"
    for old, new, message in (
        (b"Elements: 3000", b"Elements: 3001", "claims 3001 pixels as 1 x 60 x 50"),
        (b"X-Binary-Size: ", b"X-Binary-Size: 9", "cut short"),
        (b"Fastest-Dimension: 50", b"Fastest-Dimension: 50000000000", "pixels as"),
        (b"signed 32-bit", b"complex 64-bit", "expected whole numbers"),
    ):
        assert old in images["cbf"]
        path.write_bytes(images["cbf"].replace(old, new))
        with pytest.raises(OSError, match=message) as caught:
            read_image(path, parse_geom(SMALL_GEOM))
        assert str(path) in str(caught.value)
    start = images["cbf"].index(b"\x0c\x1a\x04\xd5")
    damaged = bytearray(images["cbf"])
    damaged[start + 100] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(OSError, match="checksum"):
        read_image(path, flat(60, 50))


def flat(n_ss: int, n_fs: int) -> Detector:
    text = f"res = 5000\np/max_fs = {n_fs - 1}\np/max_ss = {n_ss - 1}\n"
    return parse_geom(text + "p/min_fs = 0\np/min_ss = 0\np/corner_x = 0\np/corner_y = 0\n")


def test_a_small_image_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.cbf"
    fabio.cbfimage.CbfImage(data=np.zeros((8, 8), np.int32)).write(str(path))
    tracemalloc.start()
    read_image(path, parse_geom(SMALL_GEOM.replace("255", "7").replace("127", "3").replace("128", "4")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


def test_a_hang_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fabio counts up to the number of dimensions that an EDF claims."""
    path, whole = tmp_path / "a.edf", small_images(tmp_path)["edf"]
    path.write_bytes(whole)
    frame = read_image(path, flat(60, 50)).frame
    path.write_bytes(whole.replace(b"Dim_2", b"Dim_2147483647"))
    monkeypatch.setattr(image_client, "TIME_LIMIT_S", 1.0)
    with pytest.raises(OSError, match=r"a.edf cannot be read: it was not read within 1 s"):
        read_image(path, flat(60, 50))
    monkeypatch.undo()
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_image(path, flat(60, 50)).frame, frame)


def test_a_reader_that_ends_is_one_error(tmp_path: Path) -> None:
    whole = small_images(tmp_path)["packed.cbf"]
    (tmp_path / "a.cbf").write_bytes(whole)
    frame = read_image(tmp_path / "a.cbf", image_detector(tmp_path / "a.cbf")).frame
    READER.read(whole, reader="pycbf", suffix=".cbf")
    process = READER._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (process.pid, signal.SIGKILL)).start()
    with pytest.raises(OSError, match=r"a.cbf cannot be read: its reader ended \(SIGKILL\)"):
        read_image(tmp_path / "a.cbf", image_detector(tmp_path / "a.cbf"))
    again = read_image(tmp_path / "a.cbf", image_detector(tmp_path / "a.cbf")).frame
    np.testing.assert_array_equal(again, frame)


@pytest.mark.realdata
def test_a_signal_to_every_process_costs_no_image(tmp_path: Path) -> None:
    path = tmp_path / "a.edf"
    fabio.edfimage.EdfImage(data=np.ones((8, 8), np.int32)).write(str(path))
    detector = parse_geom(SMALL_GEOM.replace("255", "7").replace("127", "3").replace("128", "4"))
    read_image(path, detector)
    reader = READER._process
    assert reader is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        reader.send_signal(number)
        assert read_image(path, detector).frame.sum() == 64
    assert READER._process is reader


def test_checksums_are_compared_before_cbflib_reads(shared: Path, tmp_path: Path) -> None:
    """With this byte changed CBFlib writes beyond its memory, and sometimes ends by that."""
    pytest.importorskip("pycbf")
    raw = bytearray(next((shared / "rayonix_mx340").glob("*.cbf")).read_bytes())
    path = tmp_path / "a.cbf"
    path.write_bytes(raw)
    detector = image_detector(path)
    raw[4829] = ord("K")
    path.write_bytes(raw)
    with pytest.raises(OSError, match=r"a.cbf cannot be read: its image does not fit its checksum"):
        read_image(path, detector)


def test_no_bytes_and_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("cbf", "edf", "tif", "cbf.gz", "mccd"):
        (tmp_path / f"empty.{suffix}").write_bytes(b"")
        with pytest.raises(OSError, match=f"empty.{suffix} cannot be read"):
            read_image(tmp_path / f"empty.{suffix}", parse_geom(SMALL_GEOM))
    monkeypatch.setattr("peakrt.sources.images._MOST_BYTES", 2**20)
    (tmp_path / "bomb.cbf.gz").write_bytes(gzip.compress(bytes(2**22)))
    with pytest.raises(OSError, match="more than 1 MB"):
        read_image(tmp_path / "bomb.cbf.gz", parse_geom(SMALL_GEOM))


@pytest.mark.realdata
def test_rayonix_corner_is_cctbx_corner(shared: Path) -> None:
    """dxtbx refined this detector: its origin, the outer corner of the first pixel, lies within a pixel of ours."""
    path = next((shared / "rayonix_mx340").glob("*.cbf"))
    told = json.loads((shared / "rayonix_mx340" / "experiments_000.json").read_text())["detector"][0]["panels"][0]
    detector = image_detector(path)
    x, y, _ = told["origin"]
    assert np.hypot(-x * 1e-3 - detector.panels[0].corner_m[0], y * 1e-3 - detector.panels[0].corner_m[1]) < 1.0e-4
