"""Geometry files in and out, pixel maps, the catalogue; against the real files and against psana."""

from __future__ import annotations

import glob
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peakrt_geometry import (
    Detector,
    HeaderValue,
    detector_names,
    load_detector,
    read_geom,
    read_psana_geometry,
    write_geom,
)
from peakrt_geometry.crystfel import format_geom, parse_geom
from peakrt_geometry.psana import SENSORS

from . import peers
from .conftest import SMALL_GEOM

REAL = [
    "Eiger4M_nanopeakcell", "agipd_mar18_v11_extrafoam", "crystfel_cspad-cxiformat", "crystfel_cspad-single",
    "crystfel_jf-swissfel-16M", "crystfel_lcls-dec", "crystfel_pilatus", "epix10k2M_mfx_om", "jf4m_jungfraujoch",
    "jungfrau4M_cxi_om", "pilatus_om", "rayonix_lcls_om",
]  # fmt: skip


def assert_same(a: Detector, b: Detector) -> None:
    assert [p.name for p in a.panels] == [p.name for p in b.panels]
    for p, q in zip(a.panels, b.panels, strict=True):
        for name in ("corner_m", "ss_m", "fs_m"):
            np.testing.assert_allclose(getattr(p, name), getattr(q, name), atol=1e-11)
        for name in ("min_ss", "end_ss", "min_fs", "end_fs", "dims", "data", "masks"):
            assert getattr(p, name) == getattr(q, name), name
        assert {k: v for k, v in p.settings.items() if k != "res"}.items() <= {**q.settings}.items()
    for name in (
        "camera_length",
        "photon_energy",
        "adu_per_photon",
        "adu_per_eV",
        "bad_regions",
        "groups",
        "collections",
        "settings",
    ):
        assert getattr(a, name) == getattr(b, name), name


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_real_files_round_trip(name: str, shared: Path, tmp_path: Path) -> None:
    detector = read_geom(shared / "geom" / f"{name}.geom")
    write_geom(detector, tmp_path / "copy.geom", comment="two\nlines")
    again = read_geom(tmp_path / "copy.geom")
    assert_same(detector, again)
    np.testing.assert_array_equal(detector.mask, again.mask)


@pytest.mark.realdata
def test_what_real_files_say(shared: Path) -> None:
    cspad = read_geom(shared / "geom" / "crystfel_cspad-cxiformat.geom")
    assert len(cspad.panels) == 64
    assert cspad.camera_length == HeaderValue("/LCLS/detector_1/EncoderValue", 1e-3)
    assert cspad.photon_energy == HeaderValue("/LCLS/photon_energy_eV", 1.0)
    assert cspad.panels[0].masks[0].bad == 0xFFFF
    assert cspad.panels[0].corner_m[2] == pytest.approx(0.573224)
    agipd = read_geom(shared / "geom" / "agipd_mar18_v11_extrafoam.geom")
    assert agipd.shape == (16, 512, 128)
    assert agipd.panels[8].dims == ("%", 1, "ss", "fs")
    assert agipd.collections["quadrants"] == ("q0", "q1", "q2", "q3")
    swiss = read_geom(shared / "geom" / "crystfel_jf-swissfel-16M.geom")
    assert swiss.camera_length == pytest.approx(0.0953)
    assert (~swiss.mask & swiss.covered).any()
    pilatus = read_geom(shared / "geom" / "pilatus_om.geom")
    assert pilatus.panels[0].dims == ("ss", "fs")  # dim0 is given twice: the last word counts


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_panels_equal_cfelpyutils(name: str, shared: Path) -> None:
    """Corners of panels by a parser of other people's, where it reads the file."""
    reader = pytest.importorskip("cfelpyutils.geometry", exc_type=ImportError)
    path = shared / "geom" / f"{name}.geom"
    detector = read_geom(path)
    try:
        other = reader.load_crystfel_geometry(str(path)).detector["panels"]
    except ValueError:  # cfelpyutils 2.2 takes no unit behind clen
        pytest.skip("cfelpyutils does not read this file")
    for panel in detector.panels:
        theirs = other[panel.name]
        size = 1 / theirs["res"]
        np.testing.assert_allclose(panel.corner_m[:2], (theirs["cnx"] * size, theirs["cny"] * size), atol=1e-12)
        np.testing.assert_allclose(panel.fs_m[:2], (theirs["fsx"] * size, theirs["fsy"] * size), atol=1e-12)


def test_pixel_centres(small_detector: Detector) -> None:
    assert small_detector.shape == (1, 256, 256)
    assert small_detector.x_m[0, 0, 0] == pytest.approx(-127.5 * 2e-4)
    assert small_detector.y_m[0, 128, 0] == pytest.approx(2.5 * 2e-4)
    assert small_detector.radius[0, 130, 130] == pytest.approx(np.hypot(2.5, 4.5))
    x, y, _ = small_detector.lab_position_m([0, 0], [128.0, 400.0], [0.0, 0.0])
    assert (x[0], y[0]) == pytest.approx((-127.5 * 2e-4, 2.5 * 2e-4))
    assert np.isnan(x[1])
    s = small_detector.resolution()
    two_theta = np.arctan(small_detector.radius[0, 0, 0] * 2e-4 / 0.1)
    assert s[0, 0, 0] == pytest.approx(2 * np.sin(two_theta / 2) / (1.23984198e3 / 9500), rel=1e-4)


def test_bad_regions_edges_and_panels_off() -> None:
    extra = "bad_a/panel = p0\nbad_a/min_fs = 3\nbad_a/max_fs = 5\nbad_a/min_ss = 0\nbad_a/max_ss = 1\n"
    extra += "bad_b/min_x = -2.0\nbad_b/max_x = 2.0\nbad_b/min_y = 2.0\nbad_b/max_y = 4.0\n"
    mask = parse_geom(SMALL_GEOM + extra + "p1/mask_edge_pixels = 1\n").mask[0]
    assert not mask[0:2, 3:6].any()
    assert mask[0, 6]
    assert mask[2, 3]
    assert not mask[128].any()
    assert not mask[129, 127]
    assert mask[129, 140]
    assert not parse_geom(SMALL_GEOM + "p0/no_index = 1\n").mask[0, :128].any()


@settings(max_examples=50, deadline=None)
@given(name=st.sampled_from(["agipd1m", "epix10k2m"]), seed=st.integers(0, 1000))
def test_slab_and_back(name: str, seed: int) -> None:
    detector = load_detector(name)
    rng = np.random.default_rng(seed)
    planes, n_ss, _ = detector.shape
    plane, ss = rng.integers(0, planes, 20), rng.uniform(-0.5, n_ss - 0.5001, 20)
    back_plane, back_ss = detector.from_slab(detector.to_slab(plane, ss))
    np.testing.assert_array_equal(plane, back_plane)
    np.testing.assert_allclose(ss, back_ss, atol=1e-9)


@pytest.mark.parametrize("name", detector_names())
def test_catalogue(name: str) -> None:
    detector = load_detector(name)
    assert_same(detector, parse_geom(format_geom(detector), name=detector.name))
    pixels = {"agipd1m": 2**20, "cspad": 32 * 185 * 388, "eiger16m": 4371 * 4150, "eiger4m": 2167 * 2070,
              "epix10k2m": 16 * 352 * 384, "jungfrau16m": 2**24, "jungfrau1m": 2**20, "jungfrau4m": 2**22,
              "pilatus6m": 2527 * 2463, "rayonix_mx170": 1920**2, "rayonix_mx340": 1920**2}  # fmt: skip
    assert detector.covered.sum() == pixels[name]
    # no two panels overlap: every corner region is claimed once on a grid of half pixels
    size = detector.panels[0].pixel_size_m
    if len(detector.panels) > 1:
        key = np.floor(detector.x_m[detector.covered] / size * 0.5).astype(np.int64) * 100003
        key += np.floor(detector.y_m[detector.covered] / size * 0.5).astype(np.int64)
        assert np.bincount(np.unique(key, return_inverse=True)[1]).max() <= 8
    assert np.hypot(detector.x_m, detector.y_m)[detector.covered].min() < 8e-3  # the beam meets the middle
    slab = detector.as_slab("/d")
    np.testing.assert_allclose(slab.radius.ravel(), detector.radius.ravel(), atol=1e-3)


def test_catalogue_names() -> None:
    with pytest.raises(ValueError, match=r"known: agipd1m"):
        load_detector("nosuch")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p0/frobnicate = 3", r"line 25: unknown key 'frobnicate'"),
        ("frobnicate = 3", "unknown key"),
        ("bad_x/min_z = 1", "unknown key 'min_z'"),
        ("p0/fs = 1.0w", "direction"),
        ("p0/corner_x = left", "number"),
        ("just words", "key = value"),
        ("clen = 3 parsec", "unit"),
        ("mask_bad = x", "bits"),
        ("p9/min_fs = 0", "lacks"),
        ("p1/dim0 = zz", "dim0"),
        ("bad_x/min_x = 1", "lacks"),
    ],
)
def test_bad_files(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_geom(SMALL_GEOM.strip() + "\n" + text + "\n")


def test_not_a_geometry(tmp_path: Path) -> None:
    (tmp_path / "x.geom").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match="not a text file"):
        read_geom(tmp_path / "x.geom")
    (tmp_path / "y.geom").write_text("; nothing\n")
    with pytest.raises(ValueError, match="no panel"):
        read_geom(tmp_path / "y.geom")


# psana


def psana_files() -> list[str]:
    spec = importlib.util.find_spec("psana") if "psana" not in __import__("sys").modules else None
    roots = list(spec.submodule_search_locations or []) if spec else []
    return sorted(glob.glob(f"{roots[0]}/pscalib/geometry/data/geometry-def-*.data")) if roots else []


@pytest.mark.psana
@pytest.mark.parametrize(
    "path",
    [p for p in psana_files() if any(k in p for k in ("cspad.", "epix10ka", "jungfrau", "epix100a"))],
    ids=lambda p: Path(p).stem,
)
def test_psana_files_equal_psana(path: str) -> None:
    detector = read_psana_geometry(path)
    x, y, z = (np.asarray(a).reshape(detector.shape) for a in peers.psana_geometry(path))
    # psana gives double-width pixels between Jungfrau ASICs their own centres; CrystFEL's panels are even
    tolerance_um = 37.6 if "jungfrau" in path else 0.05
    for ours, theirs in ((detector.x_m, -y), (detector.y_m, -x)):
        assert np.abs(ours * 1e6 - theirs).max() < tolerance_um
        assert np.median(np.abs(ours * 1e6 - theirs)) < 0.05
    assert np.abs(detector.z_offset_m * 1e6 + z).max() < 0.2  # float32 at 1 m


PSANA_TEXT = "CAMERA 0 EPIX10KA:V1 0  20248 -20908 -60 0 0 0 -0.267 0 0\nIP 0 CAMERA 0 0 0 -100000 90 0 0 0 0 0\n"


def test_psana_file(tmp_path: Path) -> None:
    path = tmp_path / "0-end.data"
    path.write_text("# HDR PARENT IND ...\n" + PSANA_TEXT)
    detector = read_psana_geometry(path)
    assert [p.name for p in detector.panels] == ["p0a0", "p0a1", "p0a2", "p0a3"]
    assert detector.shape == (1, 352, 384)
    assert detector.panels[0].corner_m[2] == pytest.approx(0.1 + 60e-6)
    for bad, message in (
        (PSANA_TEXT.replace("20248", "x"), "line 1"),
        (PSANA_TEXT.replace("EPIX10KA:V1", "FOO"), "FOO"),
        ("", "no sensor"),
    ):
        path.write_text(bad)
        with pytest.raises(ValueError, match=message):
            read_psana_geometry(path)
    assert "EPIX10KA:V1" in SENSORS
