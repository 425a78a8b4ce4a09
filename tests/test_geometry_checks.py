"""Numbers that no detector has are refused, in one line that names file and line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peakrt.cli import main
from peakrt_geometry import (
    Detector,
    HeaderValue,
    check_camera_length_m,
    check_photon_energy_eV,
    detector_names,
    load_detector,
)
from peakrt_geometry.crystfel import format_geom, parse_geom
from peakrt_geometry.psana import parse_psana_geometry

from .conftest import SMALL_GEOM

LINES = SMALL_GEOM.strip().splitlines()

#: A line of the geometry, what it becomes (or is added, where no line begins so), and what the error says.
FAULTS = [
    ("res", "res = 0", "pixels per metre"),
    ("res", "res = -5000", "pixels per metre"),
    ("res", "res = 1e400", "beyond all numbers"),
    ("res", "res = nan", "expected a number"),
    ("res", "res = 75e-6", "pixels per metre"),
    ("photon_energy", "wavelength = 0 A", "wavelength"),
    ("photon_energy", "wavelength = -1 A", "wavelength"),
    ("photon_energy", "wavelength = 1e400 A", "beyond all numbers"),
    ("photon_energy", "photon_energy = -9500", "photon energy"),
    ("photon_energy", "photon_energy = 0", "photon energy"),
    ("photon_energy", "photon_energy = 1e400", "beyond all numbers"),
    ("photon_energy", "photon_energy = inf", "expected a number"),
    ("photon_energy", "photon_energy = 9.5", "did you mean 9500?"),
    ("photon_energy", "photon_energy = 9500eV", "expected a number"),
    ("clen", "clen = 120", "did you mean 0.12?"),
    ("clen", "clen = 1e400", "beyond all numbers"),
    ("clen", "clen = inf", "expected a number"),
    ("clen", "clen = -0.1", "camera length"),
    ("p1/max_fs", "p1/max_fs = 1e400", "beyond all numbers"),
    ("p1/max_fs", "p1/max_fs = 99.9", "whole number"),
    ("p1/max_fs", "p1/max_fs = 2147483647", "pixel's index"),
    ("p1/max_fs", "p1/max_fs = -1", "pixel's index"),
    ("p1/max_ss", "p1/max_ss = 999999", "larger than any detector"),
    ("p1/max_ss", "p1/max_ss = 100", "has no pixels"),
    ("p1/corner_x", "p1/corner_x = 1e400", "beyond all numbers"),
    ("p1/corner_x", "p1/corner_x = inf", "expected a number"),
    ("p1/coffset", "p1/coffset = 1e9", "metres"),
    ("adu_per_photon", "adu_per_photon = 0", "ADU"),
    ("adu_per_photon", "adu_per_photon = -1", "ADU"),
    ("adu_per_photon", "adu_per_photon = 1e400", "beyond all numbers"),
    ("adu_per_eV", "adu_per_eV = 0", "ADU"),
    ("p0/fs", "p0/fs = 0x", "direction of length 1"),
    ("p0/fs", "p0/fs = 1e400x", "direction of length 1"),
    ("p1/ss", "p1/ss = +1.0x +0.01y", "parallel"),
    ("p0/ss", "p0/ss = -1.0x", "parallel"),
    ("p0/mask_edge_pixels", "p0/mask_edge_pixels = -3", "pixel's index"),
    ("p0/mask_edge_pixels", "p0/mask_edge_pixels = abc", "expected a number"),
    ("p0/flag_morethan", "p0/flag_morethan = abc", "expected a number"),
    ("flag_lessthan", "flag_lessthan = nan", "expected a number"),
    ("p0/no_index", "p0/no_index = maybe", "true or false"),
    ("mask_bad", "mask_bad = 0x1ffffffff", "32 bits"),
    ("bad0/panel", "bad0/panel = nosuch", "does not exist"),
    ("bad0/min_fs", "bad0/min_fs = 5\nbad0/max_fs = 4", "minimum 5 above its maximum 4"),
    ("bad0/min_fs", "bad0/min_fs = 5\nbad0/min_x = 4", "mixes"),
    ("bad0/min_fs", "bad0/min_fs = 1e400", "beyond all numbers"),
    ("bad0/min_x", "bad0/min_x = 1e308", "pixels"),
    ("p1/coffset", "p1/coffset = 99", "camera length"),
    ("p1/dim0", "p1/dim0 = 99999999999999", "index"),
    ("p1/dim2", "p1/dim2 = ss", "once each"),
    ("p1/dim4", "p1/dim4 = 0", "without the dims before it"),
    ("p0/clen", "p0/clen = /LCLS/z", "another camera length"),
]  # fmt: skip


def changed(start: str, line: str) -> str:
    text = [line if old.startswith(f"{start} =") else old for old in LINES]
    return "\n".join(text if line in text else [*text, line]) + "\n"


@pytest.mark.parametrize(("start", "line", "message"), FAULTS, ids=[line for _, line, _ in FAULTS])
def test_a_fault_is_one_line_that_names_the_line(start: str, line: str, message: str) -> None:
    text = changed(start, line)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_geom(text, name="run7.geom")
    said = str(caught.value)
    assert "\n" not in said
    named = re.match(r"run7\.geom, line (\d+): ", said)
    assert named is not None
    at_fault = text.splitlines()[int(named[1]) - 1]
    assert at_fault in line.splitlines()


def test_what_stays_allowed() -> None:
    text = changed("p1/max_fs", "p1/max_fs = 255.0")
    detector = parse_geom(text + "p0/no_index = TRUE\np1/no_index = 0\np1/mask_edge_pixels = 200\nbad0/panel = p0\n")
    assert detector.panels[1].end_fs == 256
    assert detector.panels[0].no_index
    assert not detector.panels[1].no_index
    assert not detector.mask.any()  # an edge wider than the panel is all of it
    assert parse_geom(changed("clen", "clen = 120 mm")).camera_length == pytest.approx(0.12)
    assert parse_geom(changed("clen", "clen = detector_z")).camera_length == HeaderValue("detector_z", 1e-3)


def test_camera_lengths_of_panels_become_one_and_offsets() -> None:
    """CrystFEL 0.12 takes one clen for the whole; older files give each panel its own."""
    text = SMALL_GEOM.replace("clen = 0.1 m\n", "") + "p0/clen = 100e-3\np1/clen = 102e-3\np1/coffset = 0.001\n"
    detector = parse_geom(text)
    assert detector.camera_length == pytest.approx(0.1)
    assert [panel.corner_m[2] for panel in detector.panels] == pytest.approx([0.0, 0.003])
    assert "/clen" not in format_geom(detector)
    np.testing.assert_allclose(parse_geom(format_geom(detector)).z_offset_m, detector.z_offset_m)


@pytest.mark.parametrize("name", detector_names())
def test_slips_of_units(name: str) -> None:
    detector = load_detector(name)
    with pytest.raises(ValueError, match=r"^120 m\? camera length is in metres, 0.01 to 10: did you mean 0.12\?$"):
        detector.with_camera_length(120)
    with pytest.raises(ValueError, match=r"^9.5 eV\? photon energy is in eV, 250 to 250000: did you mean 9500\?$"):
        detector.with_photon_energy(9.5)
    changed = detector.with_camera_length(0.2).with_photon_energy(7000)
    assert (changed.camera_length, changed.photon_energy) == (0.2, 7000)


def test_bounds_of_units() -> None:
    for good in (0.01, 0.04, 6.0):
        assert check_camera_length_m(good) == good
    for good in (1000.0, 9500.0, 150e3):
        assert check_photon_energy_eV(good) == good
    for bad in (0.0, -0.1, 1e-5, 12.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="metres"):
            check_camera_length_m(bad)
    for bad in (0.0, -9500.0, 1.3, 9.5, 9.5e6, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="in eV"):
            check_photon_energy_eV(bad)


@pytest.mark.parametrize(
    ("option", "asked"), [("--photon-energy=9.5", "did you mean 9500?"), ("--camera-length=120", "did you mean 0.12?")]
)
def test_the_command_line_asks_back(
    option: str, asked: str, run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    geometry = str(run_file.with_suffix(".geom"))
    assert main(["find", str(run_file), "-g", geometry, "-o", str(tmp_path / "out.cxi"), option]) != 0
    said = capsys.readouterr().err
    assert asked in said
    assert "Traceback" not in said


# Anything at all


def read(text: str) -> Detector | str:
    """A detector, or what is said against the text."""
    try:
        return parse_geom(text, name="x.geom")
    except ValueError as error:
        return str(error)


def use(detector: Detector | str) -> None:
    """Do what every command does with a geometry; what is refused is so in one line."""
    if isinstance(detector, str):
        assert detector.startswith("x.geom")
        assert "\n" not in detector
        return
    assert np.prod(detector.shape, dtype=float) <= 2**27
    _ = detector.asics, detector.photon_gain
    if np.prod(detector.shape) < 2**21:
        assert np.isfinite(detector.radius).all()
        assert detector.mask.shape == detector.shape
    again = parse_geom(format_geom(detector), name=detector.name)
    assert again.shape == detector.shape


KEYS = sorted({start.rpartition("/")[2] for start, _, _ in FAULTS} | {"ss", "min_ss", "min_fs", "corner_y", "data"})
OWNERS = ["", "p0/", "p1/", "p2/", "bad0/", "bad/", "/", "p0/p0/"]
VALUES = [
    "0", "-1", "1e400", "-1e400", "99.9", "2147483647", "1e308", "1e-308", "nan", "inf", "0x", "x", "+1.0y", "0x0x",
    "1e999x", "abc", "", " ", "%", "ss", "fs", "p0", "nosuch", "0xff", "-0x1", "9" * 400, "1_0", "٣", "²", "1 m", "1 mm",
    "1 A", "1 keV", "/a/b", "/a % b mm", "true", "FALSE",
]  # fmt: skip
LINE = st.builds(
    lambda owner, key, value: f"{owner}{key} = {value}",
    st.sampled_from(OWNERS),
    st.sampled_from(KEYS) | st.text(max_size=8),
    st.sampled_from(VALUES) | st.floats().map(repr) | st.text(max_size=12),
)


@settings(max_examples=400, deadline=None)
@given(lines=st.lists(st.tuples(st.integers(0, len(LINES)), LINE), min_size=1, max_size=4), drop=st.integers(-1, 22))
def test_any_change_is_read_or_refused(lines: list[tuple[int, str]], drop: int) -> None:
    text = [line for number, line in enumerate(LINES) if number != drop]
    for at, line in lines:
        text.insert(at, line)
    use(read("\n".join(text)))


def with_faults(test: object) -> object:
    for start, line, _ in FAULTS:
        test = example(changed(start, line))(test)
    return test


@with_faults
@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.text("0123456789.+-exyz=/pbad \n%", max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    use(read(text))


@pytest.mark.parametrize("text", ["1" * 200_000, "1" * 200_000 + "q", "+1x" * 60_000 + "q", "0x" + "f" * 200_000])
@pytest.mark.parametrize("key", ["res", "p0/fs", "clen", "photon_energy", "mask_bad", "dim0", "no_index"])
@pytest.mark.timeout(20)  # patterns that go back and forth over a long word would take hours
def test_long_words_are_read_once(key: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"^x\.geom, line "):
        parse_geom(f"{SMALL_GEOM}{key} = {text}\n", name="x.geom")


PSANA = "CAMERA 0 EPIX10KA:V1 0  20248 -20908 -60 0 0 0 -0.267 0 0\nIP 0 CAMERA 0 0 0 -100000 90 0 0 0 0 0\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PSANA.replace("20248", "nan"), r"^x.data, line 1: "),
        (PSANA.replace("20248", "1e400"), r"^x.data, line 1: "),
        (PSANA.replace("EPIX10KA:V1", "MTRX:V2:a:4:1:1"), r"^x.data: sensor type 'MTRX:V2:a:4:1:1'"),
        (PSANA.replace("EPIX10KA:V1", "MTRX:V2:4:4:0:0"), r"^x.data: sensor type"),
        (PSANA.replace("EPIX10KA:V1", "MTRX:V2:999999999:4:75:75"), r"^x.data: sensor type"),
        # each level holds the next twice: a million sensors after twenty lines' pairs
        (
            "".join(f"L{n} 0 L{n + 1} 0 {' 0' * 9}\n" * 2 for n in range(18)) + f"L18 0 EPIX10KA:V1 0{' 0' * 9}\n",
            "more than",
        ),
    ],
    ids=["nan", "infinite", "letters", "no size", "too large", "doubling"],
)
@pytest.mark.timeout(20)
def test_psana_numbers(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_psana_geometry(text, name="x.data")
