"""HDF5 files that are valid and wrong: one line that names file and dataset, no memory taken, no blank frames."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from peakrt.cxi.columns import N_PEAKS, RESULT
from peakrt.cxi.reader import read_cxi_peaks
from peakrt.info import describe_input
from peakrt.sources import open_source
from peakrt_geometry.crystfel import parse_geom

from .conftest import SMALL_GEOM
from .test_files import FRAMES, geom, nexus_file

DATA = "/entry_1/data_1/data"


def put(file: h5py.File, path: str, kind: str) -> None:
    """Put something of a kind where a dataset of numbers is expected."""
    if path in file:
        del file[path]
    if kind == "group":
        file.create_group(path)
    elif kind == "scalar":
        file[path] = 3.0
    elif kind == "text":
        file[path] = "nine"
    elif kind == "compound":
        file[path] = np.zeros(4, [("a", "i4"), ("b", "f4")])
    elif kind == "empty":
        file[path] = h5py.Empty("f4")
    elif kind == "none":
        file[path] = np.zeros((0,), "f4")
    elif kind == "dangling":
        file[path] = h5py.SoftLink("/not/there")
    elif kind == "cyclic":
        file[path] = h5py.SoftLink(path)
    elif kind == "external":
        file[path] = h5py.ExternalLink("lost.h5", "/data")
    elif kind == "huge":
        file.create_dataset(path, (400_000, 400_000), "u2", chunks=(256, 256))
    elif kind == "vast":
        file.create_dataset(path, (10**12, 256, 256), "u2", chunks=(1, 256, 256))
    elif kind == "time":
        group, _, name = path.rpartition("/")
        h5py.h5d.create(
            file.require_group(group or "/").id, name.encode(), h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((4,))
        )
    elif kind == "nan":
        file[path] = np.full((256, 256), np.nan)


KINDS = [
    "group",
    "scalar",
    "text",
    "compound",
    "empty",
    "none",
    "dangling",
    "cyclic",
    "external",
    "huge",
    "vast",
    "time",
    "nan",
]  # each as put() makes it


def one_line(path: Path, job: Callable[[], object]) -> str:
    """The message of an error that must come, in one line that names the file."""
    with pytest.raises((OSError, ValueError)) as raised:
        job()
    message = str(raised.value)
    assert path.name in message
    assert "\n" not in message
    return message


def write_run(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file[DATA] = FRAMES
        file["/mask"] = np.zeros((256, 256), np.uint16)
        file["/energy"] = np.full(4, 9000.0)
        for name in ("machineTime", "machineTimeNanoSeconds", "fiducial"):
            file[f"/LCLS/{name}"] = np.arange(4)


TEXT = "mask = /mask\nmask_bad = 1\n" + geom(photon_energy="/energy")


def read_all(path: Path, text: str = TEXT) -> list[object]:
    return list(open_source([str(path)], parse_geom(text)).events())


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_images(tmp_path: Path, kind: str) -> None:
    write_run(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        put(file, DATA, kind)
    message = one_line(tmp_path / "a.h5", lambda: read_all(tmp_path / "a.h5"))
    assert DATA in message or "no events" in message
    list(describe_input(str(tmp_path / "a.h5"), None))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "vast"])  # never written is all zeros, all good
def test_wrong_mask(tmp_path: Path, kind: str) -> None:
    write_run(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        put(file, "/mask", kind)
    assert "/mask" in one_line(tmp_path / "a.h5", lambda: read_all(tmp_path / "a.h5"))


@pytest.mark.parametrize("kind", ["group", "text", "compound", "empty", "dangling", "cyclic", "external", "time"])
def test_wrong_photon_energy(tmp_path: Path, kind: str) -> None:
    write_run(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        put(file, "/energy", kind)
    assert "/energy" in one_line(tmp_path / "a.h5", lambda: read_all(tmp_path / "a.h5"))


def test_fewer_energies_than_events(tmp_path: Path) -> None:
    write_run(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["/energy"]
        file["/energy"] = [9000.0, 9001.0]
    assert "has 2 numbers, event //2 needs 3" in one_line(tmp_path / "a.h5", lambda: read_all(tmp_path / "a.h5"))


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_time_stamps_are_left_out(tmp_path: Path, kind: str) -> None:
    write_run(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        put(file, "/LCLS/machineTime", kind)
    events = open_source([str(tmp_path / "a.h5")], parse_geom(TEXT)).events()
    assert [event.timestamp for event in events] == [(0, k, k) for k in range(4)]


NEXUS = (
    "entry", "entry/data", "entry/data/data", "entry/instrument", "entry/instrument/detector",
    "entry/instrument/detector/beam_center_x", "entry/instrument/detector/x_pixel_size",
    "entry/instrument/detector/detector_distance", "entry/instrument/detector/pixel_mask",
    "entry/instrument/beam/incident_wavelength",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", NEXUS)
def test_wrong_nexus(tmp_path: Path, path: str, kind: str) -> None:
    name = tmp_path / "x_master.h5"
    nexus_file(name, split=False)
    with h5py.File(name, "r+") as file:
        attributes = dict(file[path].attrs)
        put(file, path, kind)
        if kind not in ("dangling", "cyclic", "external"):
            file[path].attrs.update(attributes)
    numbers_do = path.endswith(("beam_center_x", "x_pixel_size", "detector_distance", "incident_wavelength"))
    if numbers_do and kind == "scalar":
        assert len(list(open_source([str(name)]).events())) == 4 or path.endswith("x_pixel_size")
        return
    if path == "entry/data/data" and kind == "nan":  # an image, if one without numbers
        return
    if path.endswith("pixel_mask") and kind == "vast":  # a mask an event, never written: zeros, all good
        return
    one_line(name, lambda: list(open_source([str(name)]).events()))
    if not path.endswith("pixel_mask"):  # what is there is said all the same
        assert "HDF5" in "".join(describe_input(str(name), None))


@pytest.mark.parametrize(
    ("path", "value", "unit", "message"),
    [
        ("x_pixel_size", 0.0, "um", "which no pixel has"),
        ("x_pixel_size", 75.0, "parsec", "is in 'parsec'"),
        ("beam_center_x", np.nan, "", "a number is expected"),
        ("x_pixel_size", 75.0, "m", "which no pixel has"),
    ],
)
def test_nexus_numbers_that_make_no_sense(tmp_path: Path, path: str, value: float, unit: str, message: str) -> None:
    name = tmp_path / "x_master.h5"
    nexus_file(name, split=False)
    with h5py.File(name, "r+") as file:
        item = file[f"entry/instrument/detector/{path}"]
        item[()] = value
        item.attrs["units"] = unit
    assert message in one_line(name, lambda: open_source([str(name)]))


def test_nexus_wavelength_of_0_is_not_known(tmp_path: Path) -> None:
    nexus_file(tmp_path / "x.h5", split=False)
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["entry/instrument/beam/incident_wavelength"][()] = 0
    assert open_source([str(tmp_path / "x.h5")]).detector.photon_energy is None


def test_nexus_data_files_that_are_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nexus_file(tmp_path / "x_master.h5", split=True)
    (tmp_path / "x_master_data_000002.h5").unlink()
    assert len(list(open_source([str(tmp_path / "x_master.h5")]).events())) == 2
    assert "data_000002" in caplog.text
    (tmp_path / "x_master_data_000001.h5").unlink()
    message = one_line(tmp_path / "x_master.h5", lambda: open_source([str(tmp_path / "x_master.h5")]))
    assert "x_master_data_000001.h5" in message


TABLE = (N_PEAKS, *(f"{RESULT}/{name}" for name in ("peakXPosRaw", "peakYPosRaw", "peakTotalIntensity", "peakSNR")))


def write_peaks(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file[N_PEAKS] = np.array([2, 0, 3])
        for name in TABLE[1:]:
            file[name] = np.arange(12.0).reshape(3, 4)


def test_peaks_read_back(tmp_path: Path) -> None:
    write_peaks(tmp_path / "p.cxi")
    table = read_cxi_peaks(tmp_path / "p.cxi")
    assert [len(peaks) for peaks in table] == [2, 0, 3]
    np.testing.assert_array_equal(table[-1].ss, [8, 9, 10])
    with pytest.raises(IndexError):
        table[3]
    lines = "\n".join(describe_input(str(tmp_path / "p.cxi"), None))
    assert "peak table of 3 events, 5 peaks" in lines


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", TABLE)
def test_wrong_peak_tables(tmp_path: Path, path: str, kind: str) -> None:
    write_peaks(tmp_path / "p.cxi")
    with h5py.File(tmp_path / "p.cxi", "r+") as file:
        put(file, path, kind)
    if kind == "nan" and path != N_PEAKS:
        assert len(list(read_cxi_peaks(tmp_path / "p.cxi"))) == 3
        return
    if kind == "none" and path == N_PEAKS:
        assert list(read_cxi_peaks(tmp_path / "p.cxi")) == []
        return
    one_line(tmp_path / "p.cxi", lambda: list(read_cxi_peaks(tmp_path / "p.cxi")))
    one_line(tmp_path / "p.cxi", lambda: list(describe_input(str(tmp_path / "p.cxi"), None)))


@pytest.mark.parametrize("counts", [[2, -1, 3], [np.nan, 1, 1], [np.inf, 0, 0]])
def test_numbers_of_peaks_that_are_none(tmp_path: Path, counts: list[float]) -> None:
    write_peaks(tmp_path / "p.cxi")
    with h5py.File(tmp_path / "p.cxi", "r+") as file:
        del file[N_PEAKS]
        file[N_PEAKS] = np.array(counts)
    assert "numbers of peaks" in one_line(tmp_path / "p.cxi", lambda: list(read_cxi_peaks(tmp_path / "p.cxi")))


def test_events_are_not_made_before_they_are_asked_for(tmp_path: Path) -> None:
    """A file may hold a frame and claim a million of millions."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset(DATA, (10**8, 256, 256), "u2", chunks=(1, 256, 256))
        for number in range(200):
            data[10**7 * (number % 10) + number] = FRAMES[0]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    source = open_source([str(tmp_path / "a.h5")], parse_geom(SMALL_GEOM))
    assert len(source) == 10**8  # type: ignore[arg-type]
    event = next(source.events(10**7 + 1))
    assert event.name == f"//{10**7 + 1}"
    np.testing.assert_array_equal(event.frame[0], FRAMES[0])
    (tmp_path / "x.lst").write_text("a.h5 //30000003\na.h5 //03\n")
    with pytest.raises(ValueError, match="no event //03: it has 100000000"):
        open_source([str(tmp_path / "x.lst")], parse_geom(SMALL_GEOM))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB; a list takes 10 GB


def test_more_is_claimed_than_was_written(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(DATA, (10**12, 256, 256), "u2", chunks=(1, 256, 256))[7] = FRAMES[0]
    message = one_line(tmp_path / "a.h5", lambda: open_source([str(tmp_path / "a.h5")], parse_geom(SMALL_GEOM)))
    assert "bytes were ever written" in message


@pytest.mark.parametrize("where", ["file", "external", "virtual"])
def test_truncated_while_it_is_read(tmp_path: Path, where: str) -> None:
    """HDF5 gives zeros for what lies beyond the end of a file."""
    frames = np.repeat(FRAMES, 10, 0)
    holder = tmp_path / "a.h5" if where == "file" else tmp_path / "data.h5"
    with h5py.File(holder, "w") as file:
        file.create_dataset(DATA, data=frames, chunks=(1, 256, 256))
    if where != "file":
        with h5py.File(tmp_path / "a.h5", "w") as file:
            if where == "external":
                file[DATA] = h5py.ExternalLink("data.h5", DATA)
            else:
                layout = h5py.VirtualLayout(frames.shape, frames.dtype)
                layout[:] = h5py.VirtualSource("data.h5", DATA, frames.shape)
                file.create_virtual_dataset(DATA, layout)
    events = open_source([str(tmp_path / "a.h5")], parse_geom(SMALL_GEOM)).events()
    for number in range(20):
        np.testing.assert_array_equal(next(events).frame[0], frames[number])
    os.truncate(holder, holder.stat().st_size // 4)
    message = one_line(tmp_path / "a.h5", lambda: list(events))
    assert "truncated while it was read" in message


def test_virtual_dataset_without_its_files(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        layout = h5py.VirtualLayout((4, 256, 256), "u2")
        layout[:] = h5py.VirtualSource("lost.h5", DATA, (4, 256, 256))
        file.create_virtual_dataset(DATA, layout)
    assert "lost.h5" in one_line(tmp_path / "a.h5", lambda: read_all(tmp_path / "a.h5", SMALL_GEOM))


def write_frames(path: Path, frames: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file[DATA] = frames
    return path


@pytest.mark.parametrize(
    ("kinds", "common"),
    [
        (("u2", "i4"), "i4"),
        (("u2", "f4"), "f4"),
        (("u4", "i4"), "i8"),
        (("i4", "f4"), "f8"),
        (("u1", "u2", "i2"), "i4"),
        ((">u2",), "u2"),
        (("i8", "f4"), "f8"),
    ],
)
def test_inputs_of_several_types_become_one(tmp_path: Path, kinds: tuple[str, ...], common: str) -> None:
    arrays = [(FRAMES[:2] % 200).astype(kind) for kind in kinds]
    for number, kind in enumerate(kinds):
        top = np.iinfo(kind).max >> 12 if np.dtype(kind).kind in "iu" else 0.625
        arrays[number][0, 5, 7] = top
    paths = [str(write_frames(tmp_path / f"{k}.h5", array)) for k, array in enumerate(arrays)]
    source = open_source(paths, parse_geom(SMALL_GEOM))
    assert source.dtype == np.dtype(common)
    events = list(source.events())
    assert {event.frame.dtype for event in events} == {np.dtype(common)}
    for event, frame in zip(events, np.concatenate([a.astype("f8") for a in arrays]), strict=True):
        np.testing.assert_array_equal(event.frame[0].astype("f8"), frame)


def test_numbers_that_no_type_holds_together(tmp_path: Path) -> None:
    whole = FRAMES[:1].astype("i8")
    whole[0, 3, 4] = 2**53 + 1
    paths = [
        str(write_frames(tmp_path / "a.h5", whole)),
        str(write_frames(tmp_path / "b.h5", FRAMES[:1].astype("f4"))),
    ]
    message = one_line(tmp_path / "a.h5", lambda: list(open_source(paths, parse_geom(SMALL_GEOM)).events()))
    assert "one type at a time" in message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("//3", "line 1"),
        ("x" * 5000, "line 1"),
        ("a\0b.h5", "line 1"),
        (".", "is not a file"),
        ("a.h5 //-1", "has no event"),
        ("a.h5 //" + "9" * 5000, "has no event"),
        ("a.h5 x//1", "has no event"),
        ("\x85", "lists no files"),
    ],
)
def test_wrong_lists(tmp_path: Path, line: str, message: str) -> None:
    write_frames(tmp_path / "a.h5", FRAMES)
    (tmp_path / "x.lst").write_text(line + "\n")
    with pytest.raises((OSError, ValueError), match=message):
        open_source([str(tmp_path / "x.lst")], parse_geom(SMALL_GEOM))


def test_a_list_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.lst").mkdir()
    with pytest.raises(OSError, match=r"x\.lst is a folder"):
        open_source([str(tmp_path / "x.lst")], parse_geom(SMALL_GEOM))
