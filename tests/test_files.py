"""Files in: every layout a .geom describes, NXmx, lists, images, compressed data."""

from __future__ import annotations

import bz2
import threading
from pathlib import Path

import fabio
import h5py
import hdf5plugin
import numpy as np
import pytest

from peakrt.hdf5_items import get_images, open_hdf5, read
from peakrt.sources import open_source, read_ahead
from peakrt_geometry.crystfel import parse_geom

from .conftest import SMALL_GEOM

RNG = np.random.default_rng(1)
FRAMES = RNG.integers(0, 1000, (4, 256, 256)).astype(np.uint16)


def geom(**changes: str) -> str:
    text = SMALL_GEOM
    for key, value in changes.items():
        lines = [line if not line.startswith(f"{key} =") else f"{key} = {value}" for line in text.splitlines()]
        text = (
            "\n".join(lines if any(line.startswith(f"{key} =") for line in lines) else [f"{key} = {value}", *lines])
            + "\n"
        )
    return text


def read_all(path: Path, text: str) -> list[np.ndarray]:
    return [event.frame for event in open_source([str(path)], parse_geom(text)).events()]


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"compression": "gzip", "shuffle": True},
        dict(hdf5plugin.Bitshuffle(cname="lz4")),
        dict(hdf5plugin.LZ4()),
        dict(hdf5plugin.Zstd()),
    ],
    ids=["raw", "gzip", "bslz4", "lz4", "zstd"],
)
def test_slab(tmp_path: Path, filters: dict[str, object]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("/entry_1/data_1/data", data=FRAMES, chunks=(1, 128, 256), **filters)
    frames = read_all(tmp_path / "a.h5", SMALL_GEOM)
    np.testing.assert_array_equal(np.concatenate(frames), FRAMES)
    assert frames[0].dtype == np.uint16


def test_one_frame_without_event_axis(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["/data"] = FRAMES[0]
    text = SMALL_GEOM.replace("dim0 = %\ndim1 = ss\ndim2 = fs", "dim0 = ss\ndim1 = fs").replace(
        "/entry_1/data_1/data", "/data"
    )
    (frame,) = read_all(tmp_path / "a.h5", text)
    np.testing.assert_array_equal(frame[0], FRAMES[0])


def test_transposed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["/entry_1/data_1/data"] = FRAMES.transpose(0, 2, 1)
    text = SMALL_GEOM.replace("dim1 = ss\ndim2 = fs", "dim1 = fs\ndim2 = ss")
    np.testing.assert_array_equal(np.concatenate(read_all(tmp_path / "a.h5", text)), FRAMES)


def stacked(dims: str) -> str:
    """The small detector with each panel in a plane of its own."""
    text = SMALL_GEOM.replace("dim0 = %\ndim1 = ss\ndim2 = fs\n", "")
    for panel in (0, 1):
        layout = "".join(
            f"p{panel}/dim{k} = {entry.replace('N', str(panel))}\n" for k, entry in enumerate(dims.split())
        )
        text += layout
    return text.replace("p1/min_ss = 128", "p1/min_ss = 0").replace("p1/max_ss = 255", "p1/max_ss = 127")


@pytest.mark.parametrize(
    ("dims", "order"),
    [
        ("% N ss fs", (0, 1, 2, 3)),
        ("N % ss fs", (1, 0, 2, 3)),
        ("% ss fs N", (0, 2, 3, 1)),
        ("% N fs ss", (0, 1, 3, 2)),
    ],
)
def test_modules_on_an_axis(tmp_path: Path, dims: str, order: tuple[int, ...]) -> None:
    stack = FRAMES.reshape(4, 2, 128, 256)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["/entry_1/data_1/data"] = stack.transpose(order)
    frames = read_all(tmp_path / "a.h5", stacked(dims))
    np.testing.assert_array_equal(np.stack(frames), stack)


def test_a_dataset_for_each_panel(tmp_path: Path) -> None:
    stack = FRAMES.reshape(4, 2, 128, 256)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["/m0"], file["/m1"] = stack[:, 0], stack[:, 1]
    text = stacked("% ss fs") + "p0/data = /m0\np1/data = /m1\n"
    np.testing.assert_array_equal(np.stack(read_all(tmp_path / "a.h5", text)), stack)


def test_events_in_the_path(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for k in range(3):
            file[f"/run/{k:03}/img"] = FRAMES[k]
    text = SMALL_GEOM.replace("dim0 = %\ndim1 = ss\ndim2 = fs", "dim0 = ss\ndim1 = fs").replace(
        "/entry_1/data_1/data", "/run/%/img"
    )
    source = open_source([str(tmp_path / "a.h5")], parse_geom(text))
    events = list(source.events())
    assert [event.name for event in events] == ["000//", "001//", "002//"]
    np.testing.assert_array_equal(np.concatenate([event.frame for event in events]), FRAMES[:3])


def test_masks_flags_and_headers(tmp_path: Path) -> None:
    bad = RNG.random((256, 256)) < 0.1
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["/entry_1/data_1/data"] = FRAMES
        file["/mask2"] = bad.astype(np.uint16) * 4
        file["/mask3"] = np.stack([np.roll(bad, k, 0) for k in range(4)]).astype(np.uint8)
        file["/LCLS/photon_energy_eV"] = np.arange(9000.0, 9004)
        file["/clen"] = np.float64(120.0)
    text = geom(photon_energy="/LCLS/photon_energy_eV", clen="/clen")
    for extra, expected in (
        ("mask = /mask2\nmask_bad = 0x4\n", lambda k: ~bad),
        ("mask = /mask2\nmask_good = 0x4\n", lambda k: bad),
        (
            "mask0_data = /mask3\nmask0_badbits = 0x1\nmask1_data = /mask2\nmask1_badbits = 0x4\n",
            lambda k: ~bad & ~np.roll(bad, k, 0),
        ),
        ("flag_morethan = 900\nflag_equal = 17\n", lambda k: (FRAMES[k] <= 900) & (FRAMES[k] != 17)),
    ):
        source = open_source([str(tmp_path / "a.h5")], parse_geom(extra + text))
        for k, event in enumerate(source.events()):
            assert event.mask is not None
            np.testing.assert_array_equal(event.mask[0], expected(k))
            assert event.photon_energy_eV == 9000 + k
            assert event.camera_length_m == pytest.approx(0.12)


@pytest.mark.parametrize("kind", ["u1", ">u2", "u4", "u8", "i1", "i8", "f4", "?"])
@pytest.mark.parametrize(("good_bits", "bad_bits"), [(0, 1), (1, 0), (2, 0x80), (0, 0x10000), (0x1FF, 0)])
def test_bits_of_a_mask_of_any_type(tmp_path: Path, kind: str, good_bits: int, bad_bits: int) -> None:
    values = np.random.default_rng(0).integers(0, 128, (1, 256, 256)).astype(kind)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["/entry_1/data_1/data"] = FRAMES[:1]
        file["/mask"] = values
    text = f"mask = /mask\nmask_good = {good_bits}\nmask_bad = {bad_bits}\n" + geom()
    (event,) = open_source([str(tmp_path / "a.h5")], parse_geom(text)).events()
    assert event.mask is not None
    wide = values.astype(np.int64)
    np.testing.assert_array_equal(event.mask, ((wide & good_bits) == good_bits) & ((wide & bad_bits) == 0))


def test_mask_file_beside(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["/entry_1/data_1/data"] = FRAMES
    text = "mask_file = m.h5\nmask = /m\nmask_bad = 1\n" + SMALL_GEOM
    with pytest.raises(ValueError, match="m.h5 .* does not exist"):
        read_all(tmp_path / "a.h5", text)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["/m"] = np.eye(256, dtype=np.uint8)
    event = next(open_source([str(tmp_path / "a.h5")], parse_geom(text)).events())
    assert event.mask is not None
    np.testing.assert_array_equal(event.mask[0], ~np.eye(256, dtype=bool))


def nexus_file(path: Path, *, split: bool) -> None:
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        if split:  # as DECTRIS writes them: external links to files of 1000 frames
            for part in (1, 2):
                name = f"{path.stem}_data_{part:06}.h5"
                with h5py.File(path.parent / name, "w") as other:
                    other["/data"] = FRAMES[2 * part - 2 : 2 * part]
                entry[f"data/data_{part:06}"] = h5py.ExternalLink(name, "/data")
        else:
            entry["data/data"] = FRAMES
        instrument = entry.create_group("instrument")
        instrument.attrs["NX_class"] = "NXinstrument"
        detector = instrument.create_group("detector")
        detector.attrs["NX_class"] = "NXdetector"
        for name, value, unit in (
            ("beam_center_x", 130.5, ""),
            ("beam_center_y", 120.0, ""),
            ("x_pixel_size", 75.0, "um"),
            ("detector_distance", 150.0, "mm"),
        ):
            detector[name] = value
            detector[name].attrs["units"] = unit
        detector["pixel_mask"] = np.eye(256, dtype=np.uint32)
        instrument["beam/incident_wavelength"] = 1.0
        instrument["beam/incident_wavelength"].attrs["units"] = "angstrom"


@pytest.mark.parametrize("split", [False, True])
def test_nexus(tmp_path: Path, split: bool) -> None:
    nexus_file(tmp_path / "x_master.h5", split=split)
    source = open_source([str(tmp_path / "x_master.h5")])
    events = list(source.events())
    np.testing.assert_array_equal(np.concatenate([event.frame for event in events]), FRAMES)
    assert events[0].camera_length_m == pytest.approx(0.15)
    assert events[0].photon_energy_eV == pytest.approx(12398.42, rel=1e-5)
    assert events[0].mask is not None
    assert not events[0].mask[0].diagonal().any()
    # the beam centre is counted from the corner of pixel (0, 0)
    assert source.detector.radius[0, 119, 130] == pytest.approx(0.5, abs=1e-3)


def test_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["/entry_1/data_1/data"] = FRAMES
    (tmp_path / "x.lst").write_text("a.h5 //2\na.h5 //0\n\nb.h5\n")
    source = open_source([str(tmp_path / "x.lst")], parse_geom(SMALL_GEOM))
    events = list(source.events())
    assert [event.name for event in events] == ["//2", "//0", "//0", "//1", "//2", "//3"]
    np.testing.assert_array_equal(events[0].frame[0], FRAMES[2])
    assert [event.name for event in source.events(start=1)] == [event.name for event in events[1:]]
    assert len(source) == 6
    (tmp_path / "x.lst").write_text("a.h5 //9\n")
    with pytest.raises(ValueError, match="no event //9: it has 4"):
        open_source([str(tmp_path / "x.lst")], parse_geom(SMALL_GEOM))
    (tmp_path / "x.lst").write_text("nosuch.h5 //9\n")
    with pytest.raises(FileNotFoundError, match="line 1: nosuch.h5"):
        open_source([str(tmp_path / "x.lst")], parse_geom(SMALL_GEOM))


@pytest.mark.parametrize("suffix", ["cbf", "edf", "tif"])
def test_images(tmp_path: Path, suffix: str) -> None:
    frame = FRAMES[0].astype(np.int32)
    frame[5, 7] = -1
    writer = {"cbf": fabio.cbfimage.CbfImage, "edf": fabio.edfimage.EdfImage, "tif": fabio.tifimage.TifImage}[suffix]
    writer(data=frame).write(str(tmp_path / f"a.{suffix}"))
    (event,) = open_source([str(tmp_path / f"a.{suffix}")], parse_geom(SMALL_GEOM)).events()
    np.testing.assert_array_equal(event.frame[0], frame)
    assert event.mask is not None
    assert not event.mask[0, 5, 7]
    assert event.mask.sum() == frame.size - 1


@pytest.mark.realdata
def test_real_images(shared: Path) -> None:
    thaumatin = shared / "thaumatin_pilatus6M" / "thau_3_2_0001.cbf.bz2"
    (event,) = open_source([str(thaumatin)]).events()
    assert event.frame.shape == (1, 2527, 2463)
    assert event.camera_length_m == pytest.approx(0.351, abs=1e-4)
    assert event.photon_energy_eV == pytest.approx(12398.42 / 0.96859, rel=1e-4)
    rayonix = next((shared / "rayonix_mx340").glob("*.cbf"))
    pytest.importorskip("pycbf")
    (event,) = open_source([str(rayonix)]).events()
    assert event.frame.shape == (1, 1920, 1920)
    assert event.camera_length_m == pytest.approx(0.124, abs=1e-4)
    assert event.mask is not None
    assert 0.001 < (~event.mask).mean() < 0.01  # the beam-stop hole


BAD = [
    ("missing", "does not exist"),
    ("truncated", "not a readable HDF5|neither HDF5"),
    ("not_hdf5", "neither HDF5"),
    ("no_dataset", "has no dataset"),
    ("group", "is a group"),
    ("wrong_shape", "frames of 100 x 256 pixels"),
    ("larger", "is it the right one"),
    ("wrong_ndim", "the geometry says"),
    ("text", "not numbers"),
    ("no_frames", "no frames"),
]


@pytest.mark.parametrize(("kind", "message"), BAD, ids=[k for k, _ in BAD])
def test_bad_files(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "a.h5"
    data = {
        "wrong_shape": FRAMES[:, :100],
        "larger": np.zeros((1, 300, 256)),
        "wrong_ndim": FRAMES[None],
        "no_frames": FRAMES[:0],
    }
    if kind == "not_hdf5":
        path.write_bytes(b"hello")
    elif kind != "missing":
        with h5py.File(path, "w") as file:
            if kind == "text":
                file["/entry_1/data_1/data"] = np.full((1, 256, 256), b"x")
            elif kind == "group":
                file.create_group("/entry_1/data_1/data")
            elif kind != "no_dataset":
                file["/entry_1/data_1/data"] = data.get(kind, FRAMES)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises((OSError, ValueError), match=message):
        open_source([str(path)], parse_geom(SMALL_GEOM))


def test_no_geometry(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["/entry_1/data_1/data"] = FRAMES
    with pytest.raises(ValueError, match="geometry with -g"):
        open_source([str(tmp_path / "a.h5")])
    with pytest.raises(ValueError, match="no 'data =' line"):
        open_source([str(tmp_path / "a.h5")], parse_geom(SMALL_GEOM.replace("data = /entry_1/data_1/data", "")))


def test_damaged_image(tmp_path: Path, shared: Path) -> None:
    whole = bz2.decompress((shared / "thaumatin_pilatus6M" / "thau_3_2_0016.cbf.bz2").read_bytes())
    (tmp_path / "a.cbf").write_bytes(whole[:40000])
    with pytest.raises((OSError, ValueError), match="a.cbf"):
        list(open_source([str(tmp_path / "a.cbf")]).events())


def test_read_ahead_keeps_order_and_hands_over_errors() -> None:
    assert list(read_ahead(iter(range(100)), depth=2)) == list(range(100))

    def failing() -> object:
        yield 1
        raise OSError("broken")

    items = read_ahead(failing(), depth=2)  # type: ignore[arg-type]
    assert next(items) == 1
    with pytest.raises(OSError, match="broken"):
        next(items)
    endless = read_ahead(iter(int, 1), depth=2)
    next(endless)
    endless.close()  # ends the thread


def test_read_ahead_tells_of_pauses() -> None:
    going_on = threading.Event()
    items = read_ahead((going_on.wait() and k for k in (3, 4)), pause_s=0.01)
    assert next(items) is None
    going_on.set()
    assert [item for item in items if item is not None] == [3, 4]


@pytest.mark.parametrize(
    ("chunks", "compression", "kept"),
    [
        ((1, 30, 40), None, 0),
        ((1, 30, 40), "gzip", 30 * 40 * 2),
        ((5, 16, 16), "gzip", 2 * 3 * 5 * 16 * 16 * 2),
        ((5, 30, 40), None, 5 * 30 * 40 * 2),
    ],
)
def test_chunks_of_an_event_are_kept_until_the_next(
    tmp_path: Path, chunks: tuple[int, ...], compression: str | None, kept: int
) -> None:
    """What HDF5 would unpack anew for each event of a chunk; nothing where a chunk is an event, as it is."""
    frames = np.random.default_rng(0).integers(0, 1000, (12, 30, 40), np.uint16)
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file.create_dataset("data", data=frames, chunks=chunks, compression=compression)
        file["link"] = h5py.SoftLink("/data")
    with h5py.File(tmp_path / "master.h5", "w") as file:
        file["part"] = h5py.ExternalLink("run.h5", "/link")
    for name, path in (("run.h5", "data"), ("run.h5", "link"), ("master.h5", "part")):
        with open_hdf5(tmp_path / name) as file:
            found = get_images(file, path)
            assert found.id.get_access_plist().get_chunk_cache()[1] == kept
            np.testing.assert_array_equal(np.stack([read(found, k) for k in range(12)]), frames)


def test_chunks_of_too_many_events_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file.create_dataset("data", data=np.zeros((12, 30, 40)), chunks=(6, 30, 40))
        file["text"] = "none"
    monkeypatch.setattr("peakrt.hdf5_items._MAX_KEPT_BYTES", 6 * 30 * 40 * 8 - 1)
    with open_hdf5(tmp_path / "run.h5") as file:
        assert read(get_images(file, "data"), 3).shape == (30, 40)
        assert "run.h5 has chunks of 6 events, which are unpacked anew for each" in caplog.text
        with pytest.raises(ValueError, match=r"/text in .*run.h5 holds object, not numbers"):
            get_images(file, "text")
