"""peakrt view: no pixel is lost, saved peaks are shown as they are, powders, and pictures that can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import ndimage

from peakrt.cli import main
from peakrt.config import OutputConfig
from peakrt.cxi.columns import DATA, MASK, N_PEAKS, POWDER_HITS, POWDER_MISSES, RESULT
from peakrt.cxi.saved_peaks import SavedPeaks
from peakrt.cxi.writer import CxiWriter
from peakrt.event import Event
from peakrt.finder import PeakFinder
from peakrt.pictures.assemble import Canvas
from peakrt.pictures.choose import NO_PEAKS, EventPictures, geometry_beside, powders
from peakrt.pictures.draw import FEW, MANY, ONE, Layout, Picture, Scaled, contrast, rings_mm, save_pictures
from peakrt.pipeline import find_run
from peakrt.sources import open_source
from peakrt_geometry import Detector, Panel, detector_names, load_detector, read_geom

from .test_run import peakrt as in_a_process

Image = pytest.importorskip("PIL.Image")


def one_panel(n_ss: int, n_fs: int, *, degrees: float = 0.0, wide: float = 1.0) -> Detector:
    """A panel of 100 um pixels beside the beam, turned; wide times as wide along fs."""
    turn = np.deg2rad(degrees)
    fs = (1e-4 * wide * np.cos(turn), 1e-4 * wide * np.sin(turn), 0.0)
    ss = (-1e-4 * np.sin(turn), 1e-4 * np.cos(turn), 0.0)
    return Detector((Panel("p0", 0, n_ss, 0, n_fs, (0.0011, 0.00123, 0.0), ss, fs),), name="one")


def bright_pixels(shape: tuple[int, ...], every: int) -> np.ndarray:
    """A frame of 10 ADU with single pixels of 1,000 ADU, every so many pixels."""
    frame = np.full(shape, 10.0, np.float32)
    frame[:, every // 2 :: every, every // 2 :: every] = 1000.0
    return frame


def drawn(path: Path, layout: Layout, detector: Detector) -> np.ndarray:
    """The frame cut out of a picture of one: (y, x) luminance 0..255, first row at the top."""
    at = Scaled(layout, Canvas(detector, layout.side))
    left, _, top, _ = at.margins
    with Image.open(path) as file:
        grey = np.asarray(file.convert("L"))
    return grey[top : top + at.size[1], left : left + at.size[0]]


def save_one(path: Path, detector: Detector, frame: np.ndarray, peaks: np.ndarray = NO_PEAKS) -> np.ndarray:
    canvas = Canvas(detector, ONE.side)
    save_pictures(path, canvas, [Picture(*canvas.assemble(frame, detector.mask), "title", peaks)], ONE)
    return drawn(path, ONE, detector)


# Every pixel is there


@pytest.mark.parametrize("width", [300, 999, 1000, 1234, 1500, 1920, 1999, 2100, 2527, 4150])
def test_every_bright_pixel_is_in_the_picture(width: int, tmp_path: Path) -> None:
    detector = one_panel(200, width)
    frame = bright_pixels(detector.shape, 40)
    picture = save_one(tmp_path / "one.png", detector, frame)
    at = Scaled(ONE, Canvas(detector, ONE.side))
    spots, number = ndimage.label(picture[2:-2, 2:-2] < 60)
    assert number == (frame == 1000).sum()
    sizes = ndimage.sum_labels(np.ones_like(spots), spots, np.arange(1, number + 1))
    assert (sizes == at.zoom**2).all()  # whole screen pixels, none in between
    assert max(at.size) <= ONE.side + 2


@pytest.mark.parametrize("layout", [MANY, FEW])
def test_every_bright_pixel_is_on_the_sheet(layout: Layout, tmp_path: Path) -> None:
    detector = one_panel(900, 1500)
    frame = bright_pixels(detector.shape, 60)
    canvas = Canvas(detector, layout.side)
    picture = Picture(*canvas.assemble(frame, detector.mask), "", NO_PEAKS)
    save_pictures(tmp_path / "sheet.png", canvas, [picture], layout)
    grey = drawn(tmp_path / "sheet.png", layout, detector)
    upper = grey[2 : int(0.88 * grey.shape[0]), 2:-2]  # the scale of the sheet stands below
    expected = (bright_pixels(detector.shape, 60)[0, int(0.12 * 900) :] == 1000).sum()
    assert ndimage.label(upper < 60)[1] == expected


@pytest.mark.parametrize("name", [n for n in detector_names() if n not in ("cspad", "eiger16m", "jungfrau16m")])
def test_no_pixel_of_our_detectors_is_lost(name: str) -> None:
    """Not cspad, whose sensors overlap in the catalogue, nor the largest, which are built like their smaller kin."""
    detector = load_detector(name)
    frame = np.random.default_rng(1).permutation(np.prod(detector.shape)).reshape(detector.shape).astype(np.float32)
    image, covered = Canvas(detector, 10**5).assemble(frame, detector.covered)
    ours, theirs = np.sort(image[covered]), np.sort(frame[detector.covered])
    np.testing.assert_array_equal(np.unique(ours), np.unique(theirs))
    assert covered.sum() == pytest.approx(detector.covered.sum(), rel=1e-4)  # no pixel is drawn twice


@pytest.mark.parametrize("degrees", [0.3, 3.0, 30.0, 45.0, 90.0, 181.0, -93.7])
@pytest.mark.parametrize("wide", [1.0, 2.5])
@pytest.mark.parametrize("side", [60, 10**5])
def test_turned_and_wide_panels_have_neither_holes_nor_stripes(degrees: float, wide: float, side: int) -> None:
    detector = one_panel(150, 120, degrees=degrees, wide=wide)
    frame = bright_pixels(detector.shape, 30)
    image, covered = Canvas(detector, side).assemble(frame, detector.mask)
    np.testing.assert_array_equal(ndimage.binary_fill_holes(covered), covered)
    assert np.isfinite(image[covered]).all()
    assert set(np.unique(image[covered])) == {10.0, 1000.0}
    assert ndimage.label(image == 1000, np.ones((3, 3)))[1] == (frame == 1000).sum()
    covered_m2, edge_m = covered.sum() * Canvas(detector, side).cell_m ** 2, Canvas(detector, side).cell_m
    assert (
        abs(covered_m2 - 150 * 120 * wide * 1e-8) < 1.5 * edge_m * (150 + 120 * wide) * 1e-4
    )  # 3/4 of a cell all around


def test_pixels_stand_where_the_geometry_says() -> None:
    detector = load_detector("epix10k2m")
    canvas = Canvas(detector, 10**5)
    frame = np.zeros(detector.shape, np.float32)
    rng = np.random.default_rng(2)
    for number in range(0, len(detector.panels), 7):
        panel, (plane, min_ss, end_ss, min_fs, end_fs) = detector.panels[number], detector.asics[number]
        frame[:] = 0
        ss, fs = rng.integers(min_ss, end_ss), rng.integers(min_fs, end_fs)
        frame[plane, ss, fs] = 1
        image, _ = canvas.assemble(frame, detector.mask)
        (row,), (column,) = np.nonzero(image == 1)
        left, _, bottom, _ = canvas.extent_mm
        x, y, _ = detector.lab_position_m([plane], [ss], [fs])
        assert left + (column + 0.5) * canvas.cell_m * 1e3 == pytest.approx(x[0] * 1e3, abs=0.06), panel.name
        assert bottom + (row + 0.5) * canvas.cell_m * 1e3 == pytest.approx(y[0] * 1e3, abs=0.06), panel.name


def test_a_panel_seen_edge_on() -> None:
    panel = Panel("p0", 0, 20, 0, 30, (0.0, 0.0, 0.0), (0.0, 0.0, 1e-4), (1e-4, 0.0, 0.0))
    detector = Detector((panel,), name="edge")
    image, covered = Canvas(detector, 100).assemble(bright_pixels(detector.shape, 10), detector.mask)
    assert covered.sum() == 30
    assert (image == 1000).sum() == 3


def test_masked_and_not_finite_pixels_are_shown_as_masked() -> None:
    detector = one_panel(20, 30)
    frame = bright_pixels(detector.shape, 10)
    good = detector.mask.copy()
    good[0, 3, 4] = False
    frame[0, 7, 8], frame[0, 7, 9] = np.nan, np.inf
    image, covered = Canvas(detector, 100).assemble(frame, good)
    assert (covered & np.isnan(image)).sum() == 3


# Peaks, rings, contrast


def test_many_circles_hide_neither_frame_nor_peaks(tmp_path: Path) -> None:
    """2,200 peaks on 400 x 400 pixels: most of the frame and every peak's brightest pixel stay as they are."""
    rng = np.random.default_rng(3)
    detector = one_panel(400, 400)
    frame = rng.poisson(20.0, detector.shape).astype(np.float32)
    ss, fs = np.divmod(rng.choice(40 * 40 - 1, 1100, replace=False), 40)
    ss, fs = np.concatenate([ss * 10, ss * 10 + 4]), np.concatenate([fs * 10, fs * 10 + 5])
    frame[0, ss, fs] = 500
    x, y, _ = detector.lab_position_m(0, ss, fs)
    peaks = np.stack([x, y], axis=-1) * 1e3
    plain = save_one(tmp_path / "plain.png", detector, frame).astype(int)
    circled = save_one(tmp_path / "circled.png", detector, frame, peaks).astype(int)
    assert 0.02 < (np.abs(circled - plain) > 20).mean() < 0.35
    zoom = Scaled(ONE, Canvas(detector, ONE.side)).zoom
    rows, columns = (402 - 1 - (ss + 1)) * zoom + zoom // 2, (fs + 1) * zoom + zoom // 2
    np.testing.assert_array_equal(circled[rows, columns], plain[rows, columns])


def test_rings_are_at_their_resolution(small_detector: Detector) -> None:
    inverse_d = small_detector.resolution()
    on = small_detector.covered
    order = np.argsort(small_detector.radius[on])
    radius_mm = small_detector.radius[on][order] * small_detector.panels[0].pixel_size_m * 1e3
    found = rings_mm(small_detector, 0.1, 9500.0)
    assert len(found) > 5
    for d, radius in found:
        if radius_mm[0] < radius < radius_mm[-1]:
            assert np.interp(radius, radius_mm, inverse_d[on][order]) == pytest.approx(10 / d, rel=2e-3)
    assert rings_mm(small_detector, None, 9500.0) == []


@pytest.mark.parametrize("background", [0.02, 0.5, 20.0, 3000.0])
def test_weak_peaks_and_rings_are_seen_beside_strong_peaks(background: float) -> None:
    rng = np.random.default_rng(4)
    image = rng.poisson(background, (500, 500)).astype(np.float32) - 3
    image[::50, ::50] = 1e5
    norm = contrast(image)
    middle, noise = float(np.median(image)), max(1.0, background**0.5)
    assert float(norm(middle + 6 * noise)) - float(norm(middle)) > 0.2
    assert norm(1e5) >= 1
    assert 0 <= norm(middle) < 0.5


@pytest.mark.parametrize("value", [0.0, -7.0, 1e6, np.nan])
def test_a_frame_of_one_value_is_drawn(value: float, tmp_path: Path) -> None:
    detector = one_panel(40, 50)
    save_one(tmp_path / "flat.png", detector, np.full(detector.shape, value, np.float32))
    assert (tmp_path / "flat.png").stat().st_size > 1000


# From the command line


@dataclass
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def peakrt(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run a command in this process, which saves importing everything."""

    def run(*arguments: object) -> Done:
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Done(status, out, err)

    return run


@pytest.fixture(scope="module")
def found(run_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What peakrt find writes of the simulated run, powders included."""
    path = tmp_path_factory.mktemp("found") / "peaks.cxi"
    source = open_source([str(run_file)], read_geom(run_file.with_suffix(".geom")))
    with CxiWriter(path, source.detector, output=OutputConfig(powder="max")) as writer:
        find_run(source, PeakFinder(geometry=source.detector), writer)
    return path


def test_view(run_file: Path, tmp_path: Path) -> None:
    geometry = run_file.with_suffix(".geom")
    done = in_a_process("view", run_file, "-g", geometry, "-o", tmp_path / "one.png")
    assert done.returncode == 0, done.stderr
    done = in_a_process("view", run_file, "-o", tmp_path / "sheet.png", "--sheet", 3)  # finds the .geom beside it
    assert done.stdout.startswith("3 hits"), done.stderr
    for name in ("one.png", "sheet.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_saved_peaks_are_shown_as_they_are(peakrt: Callable[..., Done], found: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.cxi"
    path.write_bytes(found.read_bytes())
    path.with_suffix(".geom").write_bytes(found.with_suffix(".geom").read_bytes())
    with h5py.File(path, "r+") as file:
        file[N_PEAKS][1] = 2
        file[f"{RESULT}/peakXPosRaw"][1, :2] = 10.25, 200.0
        file[f"{RESULT}/peakYPosRaw"][1, :2] = 20.5, 130.0
    done = peakrt("view", path, "-e", 1, "-o", tmp_path / "one.png")
    assert done.stdout.startswith("mine.cxi //1: 2 peaks"), done.stderr
    detector = read_geom(path.with_suffix(".geom"))
    with EventPictures(Canvas(detector, 400), lambda: pytest.fail("found anew")) as pictures:
        event = list(open_source([str(path)], detector).events())[1]
        picture = pictures.draw(event, 1)
    # 200 um pixels; panel 0 begins at -128, -130 pixels, panel 1, from ss 128 on, at y = 2 pixels
    expected = [((-128 + 10.75) * 0.2, (-130 + 21.0) * 0.2), ((-128 + 200.5) * 0.2, (2 + 2.5) * 0.2)]
    np.testing.assert_allclose(picture.peaks_mm, expected, atol=1e-4)
    done = peakrt("view", path, "-e", 1, "-o", tmp_path / "anew.png", "--finder", "peakfinder8")
    assert done.returncode == 0, done.stderr
    assert ": 2 peaks" not in done.stdout


def test_peaks_of_another_file_on_the_frames(
    peakrt: Callable[..., Done], run_file: Path, found: Path, tmp_path: Path
) -> None:
    with h5py.File(found) as file:
        numbers, counts = list(file["/LCLS/eventNumber"]), file[N_PEAKS][:]
    done = peakrt("view", run_file, "--peaks", found, "-e", numbers[2], "-o", tmp_path / "one.png")
    assert done.stdout.startswith(f"run.cxi //{numbers[2]}: {counts[2]} peaks of peaks.cxi"), done.stderr
    miss = next(n for n in range(12) if n not in numbers)
    done = peakrt("view", run_file, "--peaks", found, "-e", miss, "-o", tmp_path / "miss.png")
    assert "0 peaks, no row in peaks.cxi" in done.stdout, done.stderr
    done = peakrt("view", run_file, "--peaks", found, "--sheet", 99, "-o", tmp_path / "sheet.png")
    assert done.stdout.startswith(f"{len(numbers)} hits"), done.stderr


def test_rows_are_found_by_source_or_number(found: Path, tmp_path: Path) -> None:
    with h5py.File(found) as file:
        numbers = file["/LCLS/eventNumber"][:]
        source = file["/peakrt/source"][1].decode()
    frame = np.zeros((1, 256, 256))
    with SavedPeaks(found) as saved:
        assert saved.row_of(Event(frame, file=source.split()[0], name=f"//{numbers[1]}"), 99) == 1
        assert saved.row_of(Event(frame, file="elsewhere/run.cxi", name=f"//{numbers[1]}"), 99) == 1
        assert saved.row_of(Event(frame, file="another.cxi", name=f"//{numbers[1]}"), numbers[1]) is None
    foreign = tmp_path / "foreign.cxi"
    foreign.write_bytes(found.read_bytes())
    with h5py.File(foreign, "r+") as file:
        del file["/peakrt/source"]
    with SavedPeaks(foreign) as saved:
        assert saved.row_of(Event(frame, file="any.cxi", name="//0"), numbers[1]) == 1
    with h5py.File(foreign, "r+") as file:
        del file["/LCLS/eventNumber"]
    with SavedPeaks(foreign) as saved, pytest.raises(ValueError, match="nothing says which event"):
        saved.row_of(Event(frame), 0)


def test_powders(peakrt: Callable[..., Done], run_file: Path, found: Path, tmp_path: Path) -> None:
    canvas = Canvas(read_geom(found.with_suffix(".geom")), 400)
    good = canvas.detector.mask
    hits, misses, peaks = powders([str(found)], canvas, peaks=None, limit=5)
    with h5py.File(found) as file:
        np.testing.assert_array_equal(hits.image, canvas.assemble(file[POWDER_HITS][()][None], good)[0])
        np.testing.assert_array_equal(misses.image, canvas.assemble(file[POWDER_MISSES][()][None], good)[0])
        n_peaks = file[N_PEAKS][:].sum()
    bin_cells = round(float(peaks.unit.split()[2]) / (canvas.cell_m * 1e3)) ** 2
    # Bins at the upper and right edge and in the gap between the panels are seen in part.
    assert 0.9 * n_peaks < np.nansum(peaks.image) / bin_cells <= n_peaks
    maximum, counted = powders([str(run_file)], canvas, peaks=str(found), limit=5)
    np.testing.assert_array_equal(counted.image, peaks.image)
    assert maximum.title == "maximum of 5 events"
    with h5py.File(run_file) as file:
        expected = canvas.assemble(file[DATA][:5].max(axis=0)[None], good & (file[MASK][()] == 0)[None])[0]
    np.testing.assert_array_equal(maximum.image, expected)
    done = peakrt("view", found, "--powder", "-o", tmp_path / "powder.png")
    assert f"{n_peaks} peaks of" in done.stdout, done.stderr


def test_powder_of_a_file_without_images(peakrt: Callable[..., Done], found: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.cxi"
    bare.write_bytes(found.read_bytes())
    bare.with_suffix(".geom").write_bytes(found.with_suffix(".geom").read_bytes())
    with h5py.File(bare, "r+") as file:
        for path in (DATA, POWDER_HITS, POWDER_MISSES):
            del file[path]
    done = peakrt("view", bare, "--powder", "-o", tmp_path / "powder.png")
    assert done.returncode == 0, done.stderr
    assert "maximum" not in done.stdout
    done = peakrt("view", bare, "-o", tmp_path / "frame.png")
    assert "holds peaks without images: view the frames that were searched, with --peaks" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_geometry_beside(found: Path, tmp_path: Path) -> None:
    geometry = found.with_suffix(".geom")
    assert geometry_beside([str(found)]) == geometry
    assert geometry_beside([str(found) + ".inprogress"]) == geometry
    assert geometry_beside([str(found.with_suffix(".lst"))]) == geometry
    assert geometry_beside([str(tmp_path / "other.cxi")]) is None
    assert geometry_beside([str(geometry)]) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("RUN", "--peaks", "RUN"), "it is not a CXI with peaks"),
        (("RUN", "--peaks", "GEOM"), "not a readable HDF5 file"),
        (("RUN", "--peaks", "missing.cxi"), "does not exist"),
        (("RUN", "--peaks", "OTHER", "--sheet", "2"), "are they of this detector?"),
        (("RUN", "--sheet", "0"), "--sheet is 0"),
        (("RUN", "--powder", "-n", "0"), "--limit is 0"),
        (("RUN", "-e", "-1"), "--event is -1"),
    ],
)
def test_wrong_input_is_one_line(
    arguments: tuple[str, ...], message: str, peakrt: Callable[..., Done], run_file: Path, found: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.cxi"
    other.write_bytes(found.read_bytes())
    with h5py.File(other, "r+") as file:
        file[f"{RESULT}/peakXPosRaw"][:, 0] = 5000
    names = {"RUN": run_file, "GEOM": run_file.with_suffix(".geom"), "OTHER": other}
    done = peakrt("view", *(names.get(a, a) for a in arguments), "-o", tmp_path / "out.png")
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out.png").exists()
