"""Streams as sources: each format from its sender to the peaks, and what is refused on the way."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import cbor2
import h5py
import numpy as np
import pytest

from peakrt.cli import main
from peakrt.config import OutputConfig
from peakrt.cxi.columns import DATA, MASK, PROGRESS
from peakrt.cxi.reader import read_cxi_peaks
from peakrt.cxi.writer import CxiWriter
from peakrt.finder import PeakFinder
from peakrt.pipeline import find_run
from peakrt.sources import open_source
from peakrt.sources.nexus import nexus_detector
from peakrt_geometry import Detector, read_geom

zmq = pytest.importorskip("zmq", reason="needs the extra [live]")
pytest.importorskip("msgpack_numpy", reason="needs msgpack-numpy, which karabo-bridge brings")

from peakrt.sources.streams import open_stream  # noqa: E402
from peakrt.sources.streams.image_ids import ImageIds  # noqa: E402

from .stream_senders import (  # noqa: E402
    HDF5_FILTERS,
    answering,
    dectris_end,
    dectris_image,
    dectris_start,
    lcls_hdf5,
    om_frame,
    pushing,
    simplon_image,
    simplon_start,
    simplon_stop,
)


@pytest.fixture
def run(run_file: Path) -> SimpleNamespace:
    """Frames and mask of the simulated run."""
    with h5py.File(run_file) as file:
        return SimpleNamespace(
            frames=file[DATA][:], good=file[MASK][:] == 0, path=run_file, geom=run_file.with_suffix(".geom")
        )


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def find(source: object, output: Path, geometry: Path, *options: object) -> int:
    arguments = ["find", source, "-g", geometry, "-o", output, "--engine", "cpu", "--log-level", "warning", *options]
    return main([str(argument) for argument in arguments])


def same_as_from_file(run: SimpleNamespace, folder: Path, address: str, *options: object) -> list[str]:
    """Compare the CXI of a stream with that of the file; give the names of its hits."""
    assert find(address, folder / "stream.cxi", run.geom, *options) == 0
    assert find(run.path, folder / "file.cxi", run.geom) == 0
    ours, theirs = read_cxi_peaks(folder / "stream.cxi"), read_cxi_peaks(folder / "file.cxi")
    assert len(ours) == len(theirs) > 2
    for a, b in zip(ours, theirs, strict=True):
        for name in ("ss", "fs", "intensity"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    with h5py.File(folder / "stream.cxi") as one, h5py.File(folder / "file.cxi") as two:
        np.testing.assert_array_equal(one[DATA][:], two[DATA][:])
        np.testing.assert_array_equal(one[MASK][:], two[MASK][:])
        assert list(one["/LCLS/eventNumber"]) == list(two["/LCLS/eventNumber"])
        return [name.decode() for name in one["/peakrt/source"][:]]


@pytest.mark.parametrize("algorithm", ["", "bslz4", "bszstd"])
def test_stream_v2_and_jungfraujoch(
    run: SimpleNamespace, tmp_path: Path, algorithm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start = dectris_start(run.frames.shape[1:], run.frames.dtype.name, run.good)
    images = (dectris_image(frame, k, algorithm) for k, frame in enumerate(run.frames))
    with pushing([start, *images, dectris_end()]) as address:
        names = same_as_from_file(run, tmp_path, "jungfraujoch+" + address if algorithm == "bszstd" else address)
    assert all(name.startswith(f"{address} 7//") for name in names)
    assert "the stream is over: series 7 ended" in capsys.readouterr().out


@pytest.mark.parametrize("compression", HDF5_FILTERS)
def test_lclstreamer_hdf5(run: SimpleNamespace, tmp_path: Path, compression: str) -> None:
    stamps = np.array([f"1700000{k:03}" for k in range(12)], "S10")
    batches = [lcls_hdf5(run.frames[k : k + 5], compression, timestamp=stamps[k : k + 5]) for k in (0, 5, 10)]
    with pushing(batches) as address:
        names = same_as_from_file(run, tmp_path, address, "--timeout", 3)
    assert names[0].startswith(f"{address} //1700000")


def test_lclstreamer_simplon_with_its_start_and_stop_out_of_order(run: SimpleNamespace, tmp_path: Path) -> None:
    images = [simplon_image(frame, f"{k}") for k, frame in enumerate(run.frames)]
    messages = [*images[:2], simplon_start(run.frames[0]), *images[2:10], simplon_stop(), *images[10:]]
    with pushing(messages) as address:
        names = same_as_from_file(run, tmp_path, address)
    assert names[0].startswith(f"{address} 430//")


@pytest.mark.parametrize("pattern", ["REP", "PUSH"])
def test_karabo_bridge_of_its_own_package(run: SimpleNamespace, tmp_path: Path, pattern: str) -> None:
    karabo_bridge = pytest.importorskip("karabo_bridge.server", reason="needs karabo-bridge")
    n, source = 4, "SPB_DET_AGIPD1M-1/CAL/APPEND_CORRECTED"
    with karabo_bridge.ServerInThread("tcp://127.0.0.1:*", sock=pattern) as server:
        for k in range(0, 12, n):
            data = {"image.data": run.frames[k : k + n, None], "image.pulseId": np.arange(n, dtype=np.uint64)}
            meta = {"source": source, "timestamp": 1.7e9, "timestamp.tid": 1000 + k // n}
            other = {"source": "SPB_XTD9_XGM/DOOCS/MAIN", "timestamp.tid": 1000 + k // n}
            server.feed({source: data, other["source"]: {"energy": 1.5}}, {source: meta, other["source"]: other})
        address = ("karabo+" if pattern == "REP" else "") + server.endpoint
        names = same_as_from_file(run, tmp_path, address, "--timeout", 3)
    assert names[0].split()[-1].startswith("1000//")


def test_karabo_simulator_with_pulses_last() -> None:
    simulation = pytest.importorskip("karabo_bridge.simulation", reason="needs karabo-bridge")
    serialize = pytest.importorskip("karabo_bridge.serializer").serialize
    from peakrt.sources.streams import karabo
    from peakrt.sources.streams.arrangement import arrange
    from peakrt.sources.streams.compression import unpack
    from peakrt.sources.streams.records import Wanted

    for kind in ("online", "file"):
        data, meta = next(simulation.data_generator("AGIPD", raw=True, data_like=kind))
        array = next(iter(data.values()))["image.data"]
        (images,) = karabo.decode([bytes(part) for part in serialize(data, meta)], Wanted())
        assert images.id == 10_000_000_000
        assert len(images.names) == 64
        frames = arrange(unpack(images.frames[0], images.frames[0].shape), (16, 512, 128))
        assert len(frames) == 64
        expected = array[:, 9, 31] if kind == "file" else array[9, :, 31]
        found = np.array([frame[9, 31] for frame in frames])
        np.testing.assert_array_equal(found, expected if kind == "file" else expected.T)


def test_om_frames_through_its_own_responder(run: SimpleNamespace, tmp_path: Path) -> None:
    om = pytest.importorskip("om.lib.zmq", reason="needs ondamonitor")
    with zmq.Context() as context, context.socket(zmq.PUSH) as probe:
        port = probe.bind_to_random_port("tcp://127.0.0.1")
    address = f"tcp://127.0.0.1:{port}"
    responder = om.ZmqResponder(parameters={"responding_url": address})
    over = threading.Event()

    def answer() -> None:
        for k, frame in enumerate(run.frames):
            while not over.is_set() and (request := responder.get_request()) is None:
                time.sleep(0.005)
            if over.is_set():
                return
            responder.send_data(identity=request[0], message=om_frame(frame, event_id=f"event-{k}"))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        names = same_as_from_file(run, tmp_path, f"om+{address}", "--timeout", 3)
    finally:
        over.set()
        thread.join()
        responder._sock.close(0)
        responder._context.term()
    assert names[0].startswith(f"{address} //event-")


# The start message


def test_the_start_message_describes_what_an_nxmx_file_would(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "run.nxs", "w") as file:
        entry = file.create_group("entry")
        detector = entry.create_group("instrument/detector")
        entry.attrs["NX_class"], detector.attrs["NX_class"] = "NXentry", "NXdetector"
        for name, value, unit in (
            ("beam_center_x", 60.25, "pixel"), ("beam_center_y", 39.5, "pixel"), ("x_pixel_size", 75e-6, "m"),
            ("detector_distance", 0.15, "m"),
        ):  # fmt: skip
            detector[name] = value
            detector[name].attrs["units"] = unit
        entry["data/data"] = np.zeros((1, 80, 120), np.uint16)
    expected = nexus_detector(tmp_path / "run.nxs")
    good = np.ones((80, 120), bool)
    good[3:5, 7] = False
    frame = np.arange(80 * 120, dtype=np.uint16).reshape(80, 120)
    with (
        pushing([dectris_start((80, 120), mask=good), dectris_image(frame, 0), dectris_end()]) as address,
        open_source([address]) as source,
    ):
        events = list(source.events())
    assert source.detector.shape == expected.shape == (1, 80, 120)
    np.testing.assert_array_equal(source.detector.x_m, expected.x_m)
    np.testing.assert_array_equal(source.detector.y_m, expected.y_m)
    assert source.detector.camera_length == expected.camera_length == 0.15
    assert source.detector.photon_energy == 9500
    assert source.detector.panels[0].settings["max_adu"] == "65534"
    assert source.dtype == np.uint16
    (event,) = events
    np.testing.assert_array_equal(event.frame, frame[None])
    np.testing.assert_array_equal(event.mask, good[None])
    assert (event.file, event.name) == (address, "7//0")
    assert (event.camera_length_m, event.photon_energy_eV) == (0.15, 9500)


def test_a_geometry_of_the_user_comes_first(small_detector: Detector) -> None:
    frame = np.zeros((256, 256), np.uint16)
    messages = [dectris_start((256, 256), incident_energy=12000.0), dectris_image(frame, 0), dectris_end()]
    with pushing(messages) as address:
        source = open_stream(address, small_detector)
        (event,) = source.events()
    assert source.detector == small_detector
    assert (event.camera_length_m, event.photon_energy_eV) == (0.1, 9500)


@pytest.mark.parametrize("first", [dectris_start((40, 48)), dectris_image(np.zeros((40, 48), np.uint16), 0)])
def test_the_geometry_of_another_detector_is_an_error(first: bytes, small_detector: Detector) -> None:
    with pushing([first]) as address, pytest.raises(ValueError, match="40 x 48, the geometry needs 1 x 256 x 256"):
        open_stream(address, small_detector)


def test_pixels_without_a_number_are_masked_where_no_mask_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    frame = np.zeros((40, 40), np.uint16)
    frame[:, 17] = 65535
    with pushing([dectris_start((40, 40)), dectris_image(frame, 0), dectris_end()]) as address:
        (event,) = open_stream(address).events()
    np.testing.assert_array_equal(event.mask, (frame != 65535)[None])


def test_psana_geometry_of_lclstreamer() -> None:
    rows = "IP 0 JFROOT 0 0 0 100000 0 0 0 0 0 0\nJFROOT 0 EPIX10KA:V1 0 0 0 0 0 0 0 0 0 0\n"
    frame = np.ones((352, 384), np.float32)
    with pushing([simplon_start(frame, rows), simplon_image(frame, "1"), simplon_stop()]) as address:
        source = open_stream(address)
        (event,) = source.events()
    assert source.detector.shape == event.frame.shape == (1, 352, 384)
    assert event.frame.dtype == np.float32
    assert event.photon_energy_eV is None  # what the examples send under this name is the electron beam's


# What goes wrong


@contextmanager
def stream(*messages: bytes | list[bytes], detector: Detector | None = None, timeout_s: float = 20) -> Iterator[object]:
    with pushing(messages) as address, open_stream(address, detector, timeout_s=timeout_s) as source:
        yield source


SHAPE = (40, 48)
FRAME = np.arange(40 * 48, dtype=np.uint16).reshape(SHAPE)
START, END = dectris_start(SHAPE), dectris_end()


def array_of(shape: list[int], data: object, tag: int = 69) -> dict[str, object]:
    return {"threshold_1": cbor2.CBORTag(40, [shape, cbor2.CBORTag(tag, data)])}


LZ4 = cbor2.loads(dectris_image(FRAME, 0))["data"]["threshold_1"].value[1].value.value[2]
BROKEN: dict[str, bytes | list[bytes]] = {
    "not CBOR": b"\xff" * 20,
    "empty": b"",
    "cut off": dectris_image(FRAME, 5)[:-40],
    "two parts": [b"htype", b"{}"],
    "unknown type": cbor2.dumps({"type": "dinner"}),
    "no type": cbor2.dumps({"image_id": 3}),
    "a list": cbor2.dumps([1, 2]),
    "no data": cbor2.dumps({"type": "image", "image_id": 3, "series_id": 7}),
    "negative id": dectris_image(FRAME, 0, image_id=-4),
    "another shape": dectris_image(FRAME[:30].copy(), 5),
    "huge shape": dectris_image(FRAME, 5, data=array_of([2**40, 2**40], b"")),
    "another size": dectris_image(FRAME, 5, data=array_of([40, 48], b"abc")),
    "unknown tag": dectris_image(FRAME, 5, data=array_of([40, 48], FRAME.tobytes(), 35)),
    "unknown compression": dectris_image(FRAME, 5, data=array_of([40, 48], cbor2.CBORTag(56500, ["zip", 2, b"x"]))),
    "plain LZ4": dectris_image(FRAME, 5, "lz4"),
    "lying total": dectris_image(
        FRAME, 5, data=array_of([40, 48], cbor2.CBORTag(56500, ["bslz4", 2, (2**60).to_bytes(8, "big") + LZ4[8:]]))
    ),
    "lying block": dectris_image(
        FRAME, 5, data=array_of([40, 48], cbor2.CBORTag(56500, ["bslz4", 2, LZ4[:12] + b"\xff\xff\xff\xf0" + LZ4[16:]]))
    ),
    "no blocks": dectris_image(FRAME, 5, data=array_of([40, 48], cbor2.CBORTag(56500, ["bslz4", 2, LZ4[:12]]))),
    "broken block": dectris_image(
        FRAME, 5, data=array_of([40, 48], cbor2.CBORTag(56500, ["bslz4", 2, LZ4[:16] + b"\xff" * (len(LZ4) - 16)]))
    ),
    "many items": cbor2.dumps({"type": "image", "user_data": [[]] * 200_000}),
    "deep": b"\xa1\x64type" + b"\x81" * 5000 + b"\x00",
    "regular expression": b"\xa1\x64type\xd8\x23\x65(a+)+",
    "end of another series": dectris_end(series_id=99),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_message_is_one_line_and_a_count(
    name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.WARNING, "peakrt")
    with stream(START, dectris_image(FRAME, 0), BROKEN[name], dectris_image(FRAME, 1), END) as source:
        names = [event.name for event in source.events()]
    assert names == ["7//0", "7//1"]
    assert source.counts.refused == 1
    assert capfd.readouterr() == ("", "")  # nor does a library say anything of its own
    lines = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert len(lines[0]) < 400
    assert any("1 messages or frames were left out" in line for line in source.report())


def test_many_broken_messages_are_logged_ten_times(caplog: pytest.LogCaptureFixture) -> None:
    with stream(START, *[b"junk"] * 50, dectris_image(FRAME, 0), END) as source:
        assert len(list(source.events())) == 1
    assert source.counts.refused == 50
    assert sum("left out" in record.getMessage() for record in caplog.records) == 10


def test_images_before_the_start_are_left_out_where_it_alone_has_the_geometry() -> None:
    with stream(dectris_image(FRAME, 0), dectris_image(FRAME, 1), START, dectris_image(FRAME, 2), END) as source:
        assert [event.name for event in source.events()] == ["7//2"]
    assert source.counts.refused == 2


def test_lost_late_and_repeated_images_are_counted() -> None:
    order = [1, 0, 2, 2, 6, 5, 9]
    with stream(START, *(dectris_image(FRAME, k) for k in order), END) as source:
        assert [event.name for event in source.events()] == [f"7//{k}" for k in (1, 0, 2, 6, 5, 9)]
    assert (source.counts.lost, source.counts.repeated) == (4, 1)
    assert any(line.startswith("4 images did not come") for line in source.report())


def test_image_ids_against_a_set() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        ids, seen = ImageIds(0), set()
        for number in rng.integers(0, 40, 60).tolist():
            assert ids.is_new(number) == (number not in seen)
            seen.add(number)
        assert ids.lost == max(seen) + 1 - len(seen)
    ids = ImageIds(None)
    for k in range(10_000):
        assert ids.is_new(k * 2)
    assert len(ids._gaps) <= 1024


def test_a_silent_sender_ends_the_run(small_detector: Detector) -> None:
    with stream(START, dectris_image(FRAME, 0), timeout_s=0.5) as source:
        assert len(list(source.events())) == 1
    assert "nothing usable came for 0.5 s" in source.report()[0]


def test_time_that_the_finder_takes_is_no_silence_of_the_sender() -> None:
    reading = threading.Event()

    def late() -> Iterator[bytes]:
        yield START
        reading.wait(60)
        time.sleep(0.5)
        yield from (dectris_image(FRAME, 0), END)

    with pushing(late()) as address, open_stream(address, timeout_s=20) as source:
        source._deadline = 0.0  # as if the finder had taken longer than the timeout to make ready
        reading.set()
        assert len(list(source.events())) == 1


def test_garbage_does_not_keep_a_stream_alive() -> None:
    def endless() -> Iterator[bytes]:
        yield START
        while True:
            yield b"junk"

    with (
        pushing(endless()) as address,
        open_stream(address, timeout_s=0.5) as source,
        pytest.raises(ValueError, match="no image could be used"),
    ):
        next(source.events())
    assert source.counts.refused > 10


def test_a_series_without_images_is_an_error_that_says_why(
    run: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pushing([dectris_start((256, 256)), b"junk", dectris_end()]) as address:
        assert find(address, tmp_path / "out.cxi", run.geom) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "no image could be used; the stream is over: series 7 ended; 1 messages or frames were left out" in error
    assert list(tmp_path.iterdir()) == []


def test_the_counts_are_in_the_json(run: SimpleNamespace, tmp_path: Path) -> None:
    images = [dectris_image(run.frames[k], k) for k in (0, 1, 4)]
    with pushing([dectris_start((256, 256), run.frames.dtype.name), *images, dectris_end()]) as address:
        assert find(address, tmp_path / "out.cxi", run.geom, "--json", tmp_path / "out.json") == 0
    stream = json.loads((tmp_path / "out.json").read_text())["stream"]
    assert stream["over"] == "series 7 ended"
    assert (stream["messages"], stream["frames"], stream["lost"], stream["refused"]) == (5, 3, 2, 0)


def test_nothing_at_all_is_an_error_that_names_the_address() -> None:
    with (
        pushing([]) as address,
        pytest.raises(TimeoutError, match=rf"{address}: nothing usable came for 0.3 s.*karabo"),
    ):
        open_stream(address, timeout_s=0.3)


def test_an_address_where_nobody_answers_is_said_to_be_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(TimeoutError, match=f"0.3 s.*: 127.0.0.1 port {port}: Connection refused"):
        open_stream(f"tcp://127.0.0.1:{port}", timeout_s=0.3)


@pytest.mark.parametrize(
    "text",
    ["tcp://*:31001", "tcp://host", "tcp://host:99999", "tcp://a b:1", "tcp://0;1:2", "beer+tcp://a:1", "tpc://a:1"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="tcp://HOST:PORT"):
        open_source([text])


def test_a_stream_is_read_alone_and_never_resumed(
    run: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="read alone"):
        open_source(["tcp://127.0.0.1:1", str(run.path)])
    assert find("tcp://127.0.0.1:1", tmp_path / "a.cxi", run.geom, "--resume") == 1
    assert "a stream cannot be resumed" in capsys.readouterr().err
    with stream(START, END) as source, pytest.raises(ValueError, match="cannot be read again"):
        next(source.events(3))


def test_pickled_broadcasts_of_om_are_refused(small_detector: Detector) -> None:
    from peakrt.sources.streams import om
    from peakrt.sources.streams.records import Wanted

    with pytest.raises(ValueError, match="pickled"):
        om.decode([b"omframedata", b"\x80\x04."], Wanted())
    with pytest.raises(ValueError, match="not an array of numbers"):
        om.decode([om_frame(np.array([[None]], object))], Wanted())
    with pytest.raises(ValueError, match="cheetah_streaming"):
        om.decode([om_frame(FRAME).replace(b"detector_data", b"detector_dato")], Wanted())
    assert om.decode([om_frame(FRAME)], Wanted())[0].camera_length_m == pytest.approx(0.12)


def test_hdf5_does_not_reach_out_of_its_message(tmp_path: Path) -> None:
    from peakrt.sources.streams import lclstreamer
    from peakrt.sources.streams.records import Wanted

    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["data"] = np.zeros((1, 40, 48), np.uint16)

    def message(write: Callable[[h5py.File], object]) -> bytes:
        with h5py.File(tmp_path / "message.h5", "w") as file:
            write(file)
        return (tmp_path / "message.h5").read_bytes()

    def link(file: h5py.File) -> None:
        file["data"] = h5py.ExternalLink(str(secret), "/data")

    layout = h5py.VirtualLayout((1, 40, 48), np.uint16)
    layout[:] = h5py.VirtualSource(str(secret), "data", (1, 40, 48))
    for write in (
        link,
        lambda file: file.create_virtual_dataset("data", layout),
        lambda file: file.create_dataset("data", (1, 40, 48), np.uint16, external=[(str(secret), 0, 3840)]),
        lambda file: file.create_dataset("data", (1000, 40_000, 48_000), np.uint16),
        lambda file: file.create_dataset("data", (9, 40, 48), np.uint16, chunks=(3, 40, 48)),
    ):
        with pytest.raises(ValueError, match=r"HDF5 in memory|claims|datasets may be"):
            lclstreamer.decode([message(write)], Wanted("/data"))


def test_hdf5_without_events_is_refused(small_detector: Detector) -> None:
    import io

    block = io.BytesIO()
    with h5py.File(block, "w") as file:
        file.create_dataset("data", (0, 256, 256), np.uint16, chunks=(1, 256, 256), maxshape=(None, 256, 256))
    with pushing([block.getvalue()]) as address, pytest.raises(TimeoutError, match="no events"):
        open_stream(address, small_detector, timeout_s=0.5)


def test_gzip_that_unpacks_to_more_than_a_frame_is_refused() -> None:
    import zlib

    from peakrt.sources.streams.compression import unpack
    from peakrt.sources.streams.records import Packed

    bomb = zlib.compress(bytes(50_000_000))
    with pytest.raises(ValueError, match="another size"):
        unpack(Packed(bomb, np.dtype("u2"), SHAPE, "gzip"), SHAPE)


@pytest.mark.parametrize("threads", [1, 3])
def test_what_was_found_before_a_pause_is_flushed_in_it(run: SimpleNamespace, tmp_path: Path, threads: int) -> None:
    going_on = threading.Event()

    def messages() -> Iterator[bytes]:
        yield dectris_start(run.frames.shape[1:], run.frames.dtype.name, run.good)
        for k, frame in enumerate(run.frames):
            if k == 7:
                going_on.wait(120)
            yield dectris_image(frame, k)
        yield dectris_end()

    with pushing(messages()) as address, open_stream(address, read_geom(run.geom)) as source:
        output = OutputConfig(events="all", flush_s=0.3)
        writer = CxiWriter(tmp_path / "out.cxi", source.detector, output=output)
        finder = PeakFinder(geometry=source.detector, engine="cpu")
        job = threading.Thread(target=find_run, args=(source, finder, writer), kwargs={"threads": threads})
        job.start()
        rows, until = 0, time.monotonic() + 60
        while rows < 7 and time.monotonic() < until:
            time.sleep(0.1)
            if writer.unfinished.exists():
                with h5py.File(writer.unfinished, "r") as file:
                    rows = int(file[PROGRESS][()])
        going_on.set()
        job.join()
        writer.close()
    assert rows == 7
    assert len(read_cxi_peaks(tmp_path / "out.cxi")) == len(run.frames)


# From the command line


def test_ctrl_c_finishes_the_files_while_the_sender_is_silent(run: SimpleNamespace, tmp_path: Path) -> None:
    start = dectris_start(run.frames.shape[1:], run.frames.dtype.name, run.good)
    with pushing([start, *(dectris_image(frame, k) for k, frame in enumerate(run.frames))]) as address:
        process = subprocess.Popen(
            [sys.executable, "-m", "peakrt.cli", "find", address, "-g", run.geom, "-o", tmp_path / "out.cxi", "--engine", "cpu"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        unfinished = tmp_path / "out.cxi.inprogress"
        while not unfinished.exists() and process.poll() is None:
            time.sleep(0.1)
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "stopped by the user" in out
    assert not unfinished.exists()
    assert len(read_cxi_peaks(tmp_path / "out.cxi")) > 2


def test_a_limit_ends_a_stream_that_is_silent_afterwards(run: SimpleNamespace, tmp_path: Path) -> None:
    start = dectris_start(run.frames.shape[1:], run.frames.dtype.name, run.good)
    with pushing([start, *(dectris_image(frame, k) for k, frame in enumerate(run.frames[:5]))]) as address:
        assert find(address, tmp_path / "out.cxi", run.geom, "-n", 5, "--timeout", 100_000) == 0
    assert read_geom(tmp_path / "out.geom").shape == (1, 256, 256)


def test_om_is_asked_for_each_message(small_detector: Detector) -> None:
    frame = np.zeros((256, 256), np.float32)
    with answering([om_frame(frame, event_id=str(k)) for k in range(3)]) as address:
        source = open_stream(f"om+{address}", small_detector, timeout_s=1)
        assert [event.name for event in source.events()] == ["//0", "//1", "//2"]
