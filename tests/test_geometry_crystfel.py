"""What we write is what CrystFEL loads: every geometry as ``peakrt find`` writes it beside a CXI."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from peakrt.cxi.writer import cxi_geometry
from peakrt.sources.images import image_detector
from peakrt.sources.nexus import nexus_detector
from peakrt_geometry import (
    Detector,
    HeaderValue,
    detector_names,
    load_detector,
    missing_for_crystfel,
    read_geom,
    read_psana_geometry,
    write_geom,
)
from peakrt_geometry.crystfel import format_geom, parse_geom

from .conftest import SHARED, SMALL_GEOM
from .test_files import nexus_file
from .test_geometry import PSANA_TEXT, REAL, psana_files
from .test_images import frames, write_sections


def _psana(folder: Path) -> Detector:
    (folder / "0-end.data").write_text(PSANA_TEXT)
    return read_psana_geometry(folder / "0-end.data")


def _nexus(folder: Path) -> Detector:
    nexus_file(folder / "x_master.h5", split=False)
    return nexus_detector(folder / "x_master.h5")


def _cbf(folder: Path) -> Detector:
    write_sections(folder / "a.cbf", frames())
    return image_detector(folder / "a.cbf")


def _regions(_: Path) -> Detector:
    """Bad regions of all panels and beyond panels, transposed data, and settings that only older CrystFELs know."""
    text = SMALL_GEOM.replace("dim1 = ss\ndim2 = fs", "dim1 = fs\ndim2 = ss")
    text += "bad_a/min_fs = 5\nbad_a/max_fs = 9\nbad_b/panel = p1\nbad_c/min_x = 0\nbad_c/max_x = 1\nbad_c/min_y = 0\n"
    text += (
        "bad_c/max_y = 1\nbad_d/panel = p0\nbad_d/min_ss = 100\nbad_d/max_ss = 300\nphoton_energy_bandwidth = 0.01\n"
    )
    text += "p0/saturation_map = /sat\np0/clen = 0.1\np1/clen = 0.103\ndetector_shift_x = /somewhere mm\nbandwidth = 0.001\n"
    return parse_geom(text + "rigid_group_q = p0,p1\nrigid_group_collection_all = q\n", name="regions.geom")


CASES: dict[str, Callable[[Path], Detector]] = {
    **{name: lambda _, name=name: load_detector(name) for name in detector_names()},  # type: ignore[misc]
    **{Path(p).stem: lambda _, p=p: read_psana_geometry(p) for p in psana_files() if re.search(r"cspad\.|epix10ka|jungfrau|epix100a", p)},  # type: ignore[misc]
    "psana text": _psana,
    "NXmx": _nexus,
    "CBF of three panels": _cbf,
    "regions": _regions,
}  # fmt: skip
SHARED_CASES = {name: lambda _, name=name: read_geom(SHARED / "geom" / f"{name}.geom") for name in REAL}


def completed(detector: Detector) -> Detector:
    """With numbers for what neither the file nor the data say, as a user or the run's frames give them."""
    lacks = missing_for_crystfel(detector)
    if "photon energy" in lacks:
        detector = detector.with_photon_energy(9500)
    if "camera length" in lacks:
        detector = replace(detector, camera_length=0.1)
    if "gain (adu_per_photon)" in lacks:
        detector = replace(detector, adu_per_photon=12.5)
    return cxi_geometry(detector)


@pytest.fixture(params=[*CASES, *(pytest.param(name, marks=pytest.mark.realdata) for name in SHARED_CASES)])
def detector(request: pytest.FixtureRequest, tmp_path: Path) -> Detector:
    if request.param in SHARED_CASES:
        request.getfixturevalue("shared")
    return {**CASES, **SHARED_CASES}[request.param](tmp_path)


# Without CrystFEL: the rules of its reader (libcrystfel/src/datatemplate.c, 0.12)

PANEL_KEYS = {
    "min_fs", "max_fs", "min_ss", "max_ss", "corner_x", "corner_y", "fs", "ss", "res", "coffset", "data", "no_index",
    "adu_per_eV", "adu_per_photon", "mask_edge_pixels", "flag_equal", "flag_lessthan", "flag_morethan", "max_adu",
}  # fmt: skip
WHOLE_KEYS = {
    "clen", "photon_energy", "peak_list", "peak_list_type", "bandwidth", "detector_shift_x", "detector_shift_y",
}  # fmt: skip


def test_the_keys_that_crystfel_requires(detector: Detector, tmp_path: Path) -> None:
    write_geom(completed(detector), tmp_path / "out.geom")
    whole: dict[str, str] = {}
    panels: dict[str, dict[str, str]] = {}
    for line in (tmp_path / "out.geom").read_text().splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        owner, _, local = key.rpartition("/")
        if owner:
            panels.setdefault(owner, dict(whole))[local] = value
        elif line.strip() and not line.startswith((";", "rigid_group", "group_")):
            assert not any(not name.startswith("bad") for name in panels), f"{line} comes after the panels"
            whole[key] = value
    known = re.compile("|".join(PANEL_KEYS | WHOLE_KEYS) + r"|dim\d|mask\d_(data|goodbits|badbits)")
    regions = {name: panels.pop(name) for name in list(panels) if name.startswith("bad")}
    assert {"clen", "photon_energy", "data", "peak_list"} <= set(whole)
    assert whole["peak_list_type"] == "cxi"
    assert len(panels) == len(detector.panels)
    for keys in panels.values():
        assert {"min_fs", "max_fs", "min_ss", "max_ss", "corner_x", "corner_y", "fs", "ss", "res"} <= set(keys)
        assert {"adu_per_eV", "adu_per_photon"} & set(keys)
        assert (keys["dim0"], keys["dim1"], keys["dim2"]) == ("%", "ss", "fs")
        assert all(known.fullmatch(key) for key in keys), [key for key in keys if not known.fullmatch(key)]
        assert keys.get("clen") == whole["clen"]
        assert not re.search("[eE]", keys["fs"] + keys["ss"])  # CrystFEL reads no exponents in directions
    for keys in regions.values():
        if "min_x" not in keys:
            panel = panels[keys["panel"]]
            for axis in ("fs", "ss"):
                bounds = int(keys[f"min_{axis}"]), int(keys[f"max_{axis}"])
                assert int(panel[f"min_{axis}"]) <= bounds[0] <= bounds[1] <= int(panel[f"max_{axis}"])


def test_what_crystfel_keeps_is_the_same_mask(tmp_path: Path) -> None:
    detector = _regions(tmp_path)
    np.testing.assert_array_equal(cxi_geometry(detector).mask, detector.mask)


def test_what_crystfel_would_miss() -> None:
    assert missing_for_crystfel(parse_geom(SMALL_GEOM)) == []
    bare = "\n".join(
        line
        for line in SMALL_GEOM.splitlines()
        if line.split(" ")[0] not in ("photon_energy", "clen", "data", "adu_per_photon")
    )
    assert missing_for_crystfel(parse_geom(bare)) == [
        "camera length",
        "photon energy",
        "data path",
        "gain (adu_per_photon)",
    ]
    per_panel = parse_geom(bare + "\np0/adu_per_eV = 0.1\np1/adu_per_photon = 3\n")
    assert "gain (adu_per_photon)" not in missing_for_crystfel(per_panel)


# With CrystFEL: libcrystfel itself loads the file

#: Run by itself, for libcrystfel ends the process where it fails. Structures as in libcrystfel/src/detgeom.h of 0.12.
LOADER = """
import ctypes as c, json, sys
class Panel(c.Structure):
    _fields_ = [("name", c.c_char_p), *((n, c.c_double) for n in "cnx cny cnz pixel_pitch adu_per_photon max_adu fsx fsy fsz ssx ssy ssz".split()),
                ("w", c.c_int), ("h", c.c_int), ("group", c.c_void_p)]
class Geometry(c.Structure):
    _fields_ = [("panels", c.POINTER(Panel)), ("n_panels", c.c_int), ("top_group", c.c_void_p)]
library, path, wavelength_m = c.CDLL(sys.argv[1]), sys.argv[2], float(sys.argv[3])
library.data_template_new_from_file.restype = c.c_void_p
library.data_template_get_detgeom_if_possible.restype = c.POINTER(Geometry)
library.data_template_get_detgeom_if_possible.argtypes = [c.c_void_p, c.c_int]
library.data_template_write_to_file.argtypes = [c.c_void_p, c.c_char_p]
library.detgeom_transform_coords.argtypes = [c.POINTER(Panel), *[c.c_double] * 5, c.POINTER(c.c_double)]
template = library.data_template_new_from_file(path.encode())
if not template:
    sys.exit("refused")
library.data_template_write_to_file(template, (path + ".crystfel").encode())
geometry = library.data_template_get_detgeom_if_possible(template, 1).contents
out = []
for k in range(geometry.n_panels):
    p, r = geometry.panels[k], (c.c_double * 3)()
    library.detgeom_transform_coords(c.byref(geometry.panels[k]), .5, .5, wavelength_m, 0, 0, r)
    out.append({"name": p.name.decode(), "shape": [p.h, p.w], "gain": p.adu_per_photon, "inverse_d_nm": sum(v * v for v in r) ** .5 * 1e-9,
                "corner_m": [v * p.pixel_pitch for v in (p.cnx, p.cny, p.cnz)],
                "fs_m": [v * p.pixel_pitch for v in (p.fsx, p.fsy, p.fsz)], "ss_m": [v * p.pixel_pitch for v in (p.ssx, p.ssy, p.ssz)]})
print(json.dumps(out))
"""


@pytest.fixture(scope="session")
def libcrystfel() -> Path:
    program = shutil.which("indexamajig")
    libraries = sorted(Path(program).resolve().parents[1].glob("lib*/**/libcrystfel.so*")) if program else []
    if not libraries:
        pytest.skip("no CrystFEL (indexamajig on PATH, libcrystfel beside it)")
    return libraries[0]


@pytest.mark.crystfel
def test_crystfel_agrees(detector: Detector, libcrystfel: Path, tmp_path: Path) -> None:
    path, geometry = tmp_path / "out.geom", completed(detector)
    write_geom(geometry, path)
    done = subprocess.run(
        [sys.executable, "-c", LOADER, str(libcrystfel), str(path), "1.3e-10"],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "max_adu" not in line]  # CrystFEL's advice, not an error
    assert (done.returncode, said) == (0, []), done.stderr
    loaded = {panel["name"]: panel for panel in json.loads(done.stdout)}
    assert list(loaded) == [panel.name for panel in geometry.panels]
    # CrystFEL takes a camera length from the data for zero where there are no data
    length_m = 0.0 if isinstance(geometry.camera_length, HeaderValue) else geometry.number("camera_length")
    gains = re.findall(r"^(?:\S+/)?adu_per_\w+ = (\S+)", Path(f"{path}.crystfel").read_text(), re.MULTILINE)
    whole_gain = geometry.adu_per_photon or geometry.adu_per_eV
    length = length_m or 0.1
    inverse_d = geometry.resolution(camera_length_m=length, photon_energy_eV=1.23984198433e-6 / 1.3e-10)
    for panel, row in zip(geometry.panels, geometry.asics, strict=True):
        theirs = loaded[panel.name]
        assert tuple(theirs["shape"]) == panel.shape
        corner = np.add(panel.corner_m, (0, 0, length_m))
        np.testing.assert_allclose(theirs["corner_m"], corner, atol=1e-9)  # ten digits are written
        np.testing.assert_allclose(theirs["fs_m"], panel.fs_m, atol=1e-12)
        np.testing.assert_allclose(theirs["ss_m"], panel.ss_m, atol=1e-12)
        if length_m:
            ours = inverse_d[row[0], row[1], row[3]]
            assert theirs["inverse_d_nm"] == pytest.approx(float(ours), rel=2e-4)
        own = panel.settings.get("adu_per_photon") or panel.settings.get("adu_per_eV") or whole_gain
        assert any(float(gain) == pytest.approx(float(own), abs=1e-6) for gain in gains)  # six decimals are written
        if geometry.adu_per_photon is not None and "adu_per_eV" not in panel.settings:
            assert theirs["gain"] == pytest.approx(geometry.adu_per_photon)


@pytest.mark.crystfel
def test_crystfel_refuses_what_is_said_to_be_missing(libcrystfel: Path, tmp_path: Path) -> None:
    for key, missing in (
        ("clen", "camera length"),
        ("photon_energy", "photon energy"),
        ("adu_per_photon", "gain (adu_per_photon)"),
    ):
        text = "\n".join(line for line in SMALL_GEOM.splitlines() if not line.startswith(f"{key} ="))
        assert missing_for_crystfel(parse_geom(text)) == [missing]
        (tmp_path / "a.geom").write_text(text)
        command = [sys.executable, "-c", LOADER, str(libcrystfel), str(tmp_path / "a.geom"), "1.3e-10"]
        assert subprocess.run(command, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("name", ["cspad", "epix10k2m", "jungfrau4m", "rayonix_mx340"])
def test_om_reads_the_geometry_that_we_write(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels that are turned by a right angle among them; OM counts from the corner of a pixel."""
    monkeypatch.setattr(np, "float_", np.float64, raising=False)  # which OM 23.8.3 wants
    om = pytest.importorskip("om.lib.geometry", exc_type=ImportError)
    detector = load_detector(name)
    text = format_geom(detector).replace(" eV\n", "\n").replace(" m\n", "\n")  # it takes no units
    lines = [line + "\n" for line in text.splitlines() if not line.startswith(("mask", "peak_list"))]
    maps = om.GeometryInformation(geometry_description=lines, geometry_format="crystfel").get_pixel_maps()
    for axis, ours in (("x", detector.x_m), ("y", detector.y_m)):
        apart = maps[axis].reshape(detector.shape) - ours / detector.panels[0].pixel_size_m
        assert np.abs(apart[detector.covered]).max() < 0.51
