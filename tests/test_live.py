"""Live: hits through the broker to indexamajig's workers, none lost and none doubled, whoever dies."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("zmq")
pytest.importorskip("msgpack")
import msgpack
import zmq

from peakrt import PeakFinder
from peakrt.config import CandidateConfig, Peakfinder8Config
from peakrt.event import Event
from peakrt.live import waiting
from peakrt.live.broker import Broker
from peakrt.live.finder_process import FinderProcess
from peakrt.live.handing import HitSender, ask_state
from peakrt.live.hits import Beam, Hit, decode, encode, for_indexamajig, live_geometry, make_hit
from peakrt.live.indexing import check_options, join_parts, part_path
from peakrt.live.launcher import Indexing
from peakrt.live.waiting import HitQueue, Numbers
from peakrt.peaks import PEAK
from peakrt.stream_file import Chunk, StreamFollower
from peakrt_geometry import Detector, load_detector, missing_for_crystfel
from peakrt_lab.simulate import Response, Scene, Simulator
from peakrt_lab.truth import write_run

from . import fake_indexamajig
from .fuzz.targets import mutate
from .test_run import peakrt


def a_hit(number: int, event: str = "run.h5 //1", pixels: int = 12) -> Hit:
    frame = np.arange(2 * pixels, dtype=np.uint16).reshape(2, 1, pixels)
    good = np.ones(frame.shape, bool)
    good[1, 0, 0] = False
    peaks = np.zeros(2, PEAK)
    peaks["panel"], peaks["ss"], peaks["fs"], peaks["intensity"] = [0, 1], [0.25, 0.0], [3.5, 7.0], [100, 7]
    return make_hit(number, Event(frame, name=event), peaks, good, Beam(9500.0, 0.1))


# Messages


def test_crystfels_message_keeps_the_rules_of_its_reader() -> None:
    message = bytes(for_indexamajig(a_hit(7)))
    hit = msgpack.unpackb(message)
    keys = list(hit)
    assert not [(a, b) for a in keys for b in keys if a is not b and a.startswith(b)]  # it compares beginnings only
    assert (hit["event_id"], hit["hit_number"], hit["photon_energy"], hit["camera_length"]) == (
        "run.h5 //1",
        7,
        9500.0,
        0.1,
    )
    assert hit["peaks"] == {"fs": [3.5, 7.0], "ss": [0.25, 1.0], "intensity": [100.0, 7.0]}
    assert all(type(x) is float for column in hit["peaks"].values() for x in column)  # integers are read wrongly
    assert (hit["frame"]["type"], hit["frame"]["shape"]) == ("<f4", [2, 12])
    slab = np.frombuffer(hit["frame"]["data"], "<f4")
    expected = np.arange(24, dtype=np.float32)
    expected[12] = np.nan
    np.testing.assert_array_equal(slab, expected)
    assert len(message) > 15  # shorter ones are ignored


def test_crystfels_geometry_is_one_slab_without_dimensions(small_detector: Detector) -> None:
    geometry = live_geometry(small_detector)
    assert not missing_for_crystfel(geometry)
    assert geometry.shape == (1, 256, 256)
    assert all(panel.dims == () and panel.data == "frame" for panel in geometry.panels)
    assert live_geometry(geometry) == geometry


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64", ">u2"])
def test_a_hit_arrives_as_it_was_sent(dtype: str) -> None:
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 100, (2, 5, 7)).astype(dtype)
    good = rng.random(frame.shape) > 0.2
    event = Event(frame, file="a\nb", name="//2", photon_energy_eV=8000.0)
    hit = make_hit(3, event, np.zeros(4, PEAK), good, Beam(None, 0.2))
    there = decode([bytes(part) if isinstance(part, bytes) else part.tobytes() for part in encode(hit)])
    np.testing.assert_array_equal(there.frame, frame)
    np.testing.assert_array_equal(np.unpackbits(there.mask, count=frame.size).reshape(frame.shape), good)
    assert (there.number, there.event, there.photon_energy_eV, there.camera_length_m) == (3, "a?b //2", 8000.0, 0.2)
    assert there.peaks.shape == (3, 4)


def test_a_hit_without_photon_energy_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="give --photon-energy"):
        make_hit(1, Event(np.zeros((1, 2, 2))), np.zeros(1, PEAK), np.ones((1, 2, 2), bool), Beam(None, 0.1))


def changed(**fields: Any) -> list[bytes]:
    header, frame, mask = encode(a_hit(1))
    return [msgpack.packb({**msgpack.unpackb(header), **fields}), frame.tobytes(), mask.tobytes()]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (changed()[:2], "2 parts"),
        ([b"x" * 2_000_000, b"", b""], "header of 2000000 bytes"),
        ([b"\xc1", b"", b""], "not msgpack"),
        (changed(shape=[2, 1, 13]), "in 48 bytes"),
        (changed(shape=[2**20, 2**20, 2**20]), "pixels"),
        (changed(shape=[2, 1, 0]), "above 0"),
        (changed(shape=[2, 1, True]), "above 0"),
        (changed(dtype="O8"), "no type"),
        (changed(dtype="<m8"), "no type"),
        (changed(number=0), "counts from 1"),
        (changed(event="two\nlines"), "one line"),
        (changed(peaks=b"\0" * 13), "float32"),
        (changed(peaks=np.full(3, np.nan, "<f4").tobytes()), "numbers"),
        (changed(photon_energy_eV=float("nan")), "photon energy"),
        (changed(camera_length_m=-1.0), "camera length"),
        (changed(more=1), "has the fields"),
    ],
)
def test_a_message_that_is_no_hit_is_refused(parts: list[bytes], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decode(parts)


def test_any_damage_of_a_message_is_a_hit_or_refused() -> None:
    draw, header = random.Random(3), changed()
    for _ in range(500):
        parts = list(header)
        at = draw.randrange(3)
        parts[at] = mutate(draw, parts[at])
        with suppress(ValueError):
            assert decode(parts).frame.size


# What waits


@given(st.lists(st.integers(0, 60)))
def test_numbers_are_a_set(numbers: list[int]) -> None:
    ours, seen = Numbers(), set()
    for number in numbers:
        assert ours.add(number) == (number not in seen)
        seen.add(number)
    assert {n for n in range(-2, 63) if n in ours} == seen
    assert len(ours) == len(seen)
    assert all(end < start for end, start in zip(ours._ends, ours._starts[1:], strict=False))  # ranges are joined


def test_a_hit_whose_worker_goes_is_first_in_line_after_the_grace() -> None:
    queue = HitQueue(1 << 20)
    for number in (1, 2, 3):
        queue.add(a_hit(number))
    assert [hit.number for hit in (queue.take("a", 0.0), queue.take("b", 0.0)) if hit] == [1, 2]
    queue.worker_gone("a", 10.0)
    queue.worker_asks("b", 10.0)
    queue.chunk_came(2, 1)
    queue.expire(10.0 + waiting.GRACE_S - 0.1)
    assert (queue.n_out, queue.n_waiting) == (1, 1)
    queue.expire(10.0 + waiting.GRACE_S + 0.1)
    hit = queue.take("c", 13.0)
    assert hit is not None
    assert hit.number == 1
    assert (queue.counts.workers_lost, queue.counts.handed_again, queue.counts.done) == (1, 1, 1)


def test_a_hit_that_kills_is_given_up() -> None:
    queue, now = HitQueue(1 << 20), 0.0
    queue.add(a_hit(1))
    for worker in range(waiting.MOST_TRIES):
        assert queue.take(worker, now) is not None
        queue.worker_gone(worker, now)
        now += 10
        queue.expire(now)
    assert queue.is_empty
    assert (queue.counts.given_up, queue.counts.workers_lost, queue.n_bytes) == (1, 3, 0)


def test_a_chunk_that_comes_late_takes_the_hit_out_of_the_line() -> None:
    queue = HitQueue(1 << 20)
    queue.add(a_hit(1))
    queue.take("a", 0.0)
    queue.worker_gone("a", 0.0)
    queue.expire(10.0)
    queue.chunk_came(1, 0)
    assert queue.is_empty
    queue.chunk_came(1, 0)
    assert (queue.counts.done, queue.counts.repeated) == (1, 1)


def test_memory_is_bounded_and_the_policy_is_kept() -> None:
    size = a_hit(1).n_bytes
    blocking = HitQueue(3 * size)
    for number in (1, 2, 3):
        assert not blocking.is_full
        blocking.add(a_hit(number))
    assert blocking.is_full
    dropping = HitQueue(3 * size, "drop-oldest")
    dropping.add(a_hit(1))
    dropping.take("a", 0.0)
    for number in range(2, 8):
        dropping.add(a_hit(number))
        assert dropping.n_bytes <= 3 * size
        assert not dropping.is_full
    assert [hit.number for hit in (dropping.take("b", 0.0), dropping.take("c", 0.0)) if hit] == [6, 7]
    assert dropping.counts.dropped == 4
    with pytest.raises(ValueError, match="raise --memory"):
        dropping.add(a_hit(9, pixels=1000))
    dropping.add(a_hit(3))  # came before
    assert dropping.counts.received == 7
    with pytest.raises(ValueError, match="block or drop-oldest"):
        HitQueue(1, "wait")


# The broker, with workers that behave as CrystFEL's


class Running:
    """A broker in a thread, with workers that the test plays."""

    def __init__(self, folder: Path, queue: HitQueue) -> None:
        self.stream, self.queue = folder / "out.stream", queue
        self.part = part_path(self.stream, 1)
        self.part.write_text("CrystFEL stream format 2.3\n")
        self.hits, self.status, self.workers = (f"ipc://{folder}/{name}" for name in ("hits", "status", "workers"))
        self.result: dict[str, Any] = {}
        self.broker = Broker(queue, hits=self.hits, status=self.status, stream=self.stream, workers=self.workers)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.sender = HitSender(self.hits, lambda: True)
        self.context = zmq.Context()
        self._workers: list[threading.Thread] = []

    def _run(self) -> None:
        with self.broker:
            self.result = self.broker.run()

    def worker(self) -> Any:
        socket = self.context.socket(zmq.REQ)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 20_000)
        socket.connect(self.workers)
        return socket

    def write(self, hit: dict[str, Any]) -> None:
        with self.part.open("a") as file:
            file.write(chunk_of(hit))

    def work(self) -> None:
        """Index until the broker has ended."""
        with self.worker() as socket:
            while True:
                socket.send(b"next")
                while not socket.poll(100):
                    if not self._thread.is_alive():
                        return
                self.write(msgpack.unpackb(socket.recv()))

    def start_worker(self) -> None:
        self._workers.append(threading.Thread(target=self.work))
        self._workers[-1].start()

    def end(self) -> list[int]:
        """Wait for the end; returns the numbers of the hits in the stream."""
        self.sender.end()
        self._thread.join(30)
        assert not self._thread.is_alive()
        for worker in self._workers:
            worker.join()
        self.close()
        return numbers(self.stream)

    def close(self) -> None:
        self.sender.close()
        self.context.destroy(0)


def chunk_of(hit: dict[str, Any]) -> str:
    values = {**hit, "peaks": len(hit["peaks"]["fs"]), "method": "asdf", "crystal": fake_indexamajig.CRYSTAL}
    return fake_indexamajig.CHUNK.format(**values)


def chunks(stream: Path) -> list[Chunk]:
    follower, found = StreamFollower(stream), []
    while new := follower.new_chunks():
        found += new
    assert not follower.reader.damaged
    assert not follower.reader.unfinished
    return found


def numbers(stream: Path) -> list[int]:
    return [chunk.number for chunk in chunks(stream) if chunk.number is not None]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(waiting, "GRACE_S", 0.3)
    made = Running(tmp_path, HitQueue(1 << 20))
    yield made
    made.broker._ended = lambda: True
    made._thread.join(10)
    made.close()


def test_every_hit_is_handed_out_once_and_in_order(running: Running) -> None:
    for number in range(1, 21):
        running.sender.send(a_hit(number))
    running.start_worker()
    assert running.end() == list(range(1, 21))
    assert running.result["done"] == running.result["indexed"] == 20
    assert not running.part.exists()


def test_a_hit_goes_to_another_worker_when_its_worker_vanishes(running: Running) -> None:
    for number in range(1, 8):
        running.sender.send(a_hit(number))
    for _ in range(2):
        with running.worker() as socket:
            socket.send(b"next")
            socket.recv()  # and dies
    with running.worker() as socket:
        socket.send(b"next")
        running.write(msgpack.unpackb(socket.recv()))  # dies once its chunk is written
    running.start_worker()
    assert sorted(running.end()) == list(range(1, 8))
    assert running.result["handed_again"] == 2
    assert running.result["repeated"] == 0


def test_workers_that_vanish_while_they_wait_lose_nothing(running: Running) -> None:
    for _ in range(5):
        with running.worker() as socket:
            socket.send(b"next")
            time.sleep(0.02)
    for number in range(1, 5):
        running.sender.send(a_hit(number))
    running.start_worker()
    assert sorted(running.end()) == [1, 2, 3, 4]  # one that was sent to the last before it was seen to go comes later


def test_a_chunk_later_than_the_grace_is_left_out_when_the_stream_is_joined(running: Running) -> None:
    running.sender.send(a_hit(1))
    with running.worker() as slow:
        slow.send(b"next")
        late = msgpack.unpackb(slow.recv())
        slow.send(b"next")  # says that it is through, but the chunk hangs somewhere
        with running.worker() as other:
            time.sleep(0.6)
            hit = msgpack.unpackb(slow.recv() if slow.poll(0) else other.recv())
    assert hit["hit_number"] == 1
    running.write(late)
    running.write(hit)
    assert running.end() == [1]
    assert running.result["repeated"] == 1
    assert running.result["left_out"] == 1


def test_nonsense_on_any_socket_changes_nothing(running: Running) -> None:
    with running.context.socket(zmq.DEALER) as dealer, running.context.socket(zmq.PUSH) as push:
        for socket in (dealer, push):
            socket.setsockopt(zmq.LINGER, 1000)
        dealer.connect(running.workers)
        push.connect(running.hits)
        for parts in ([b"next"], [b"", b"x", b"y"], [b"z" * 5, b"next"]):
            dealer.send_multipart(parts)
        for parts in ([b"x"], [b"", b"", b""], [b"\x81", b"a", b"b"], changed(shape=[2**40, 1, 1]), [b"end", b"end"]):
            push.send_multipart(parts)
        with running.worker() as socket:
            socket.send(b"n" * 5000)  # ends the connection before the message is read
        with running.context.socket(zmq.REQ) as asking:
            asking.setsockopt(zmq.LINGER, 0)
            asking.connect(running.status)
            asking.send_multipart([b"a", b"b"])
            assert asking.poll(5000)
            asking.recv()
        until = time.monotonic() + 10
        while running.queue.counts.refused < 8 and time.monotonic() < until:
            time.sleep(0.02)
    state = ask_state(running.status)
    assert state is not None
    assert (state["refused"], state["received"]) == (8, 0)
    running.sender.send(a_hit(1))
    running.start_worker()
    assert running.end() == [1]


@pytest.mark.parametrize("policy", ["block", "drop-oldest"])
def test_a_full_memory(tmp_path: Path, policy: str) -> None:
    size = a_hit(1, pixels=50_000).n_bytes
    running = Running(tmp_path, HitQueue(4 * size, policy))
    sent: list[int] = []

    def send() -> None:
        for number in range(1, 41):
            running.sender.send(a_hit(number, pixels=50_000))
            sent.append(number)

    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(0.7)
    held = running.queue.n_bytes
    if policy == "block":
        assert len(sent) < 40  # the finder waits
        assert held <= 5 * size
    else:
        sender.join(10)
        until = time.monotonic() + 10
        while running.queue.counts.received < 40 and time.monotonic() < until:
            time.sleep(0.02)
        assert held <= 4 * size
    running.start_worker()
    sender.join(20)
    there = running.end()
    assert there == (list(range(1, 41)) if policy == "block" else [37, 38, 39, 40])
    assert running.result["dropped"] == 40 - len(there)


def test_a_broker_that_is_started_again_knows_what_is_done(tmp_path: Path) -> None:
    stream = tmp_path / "out.stream"
    hits = [msgpack.unpackb(bytes(for_indexamajig(a_hit(number)))) for number in (1, 2, 2, 3)]
    head = "CrystFEL stream format 2.3\n"
    part_path(stream, 1).write_text(head + chunk_of(hits[0]) + chunk_of(hits[1]) + chunk_of(hits[3])[:200])
    part_path(stream, 2).write_text(head + chunk_of(hits[2]) + chunk_of(hits[3]))
    broker = Broker(HitQueue(1 << 20), hits=f"ipc://{tmp_path}/h", status=f"ipc://{tmp_path}/s", stream=stream, ended=lambda: True,
                    workers=f"ipc://{tmp_path}/w")  # fmt: skip
    with broker:
        for _ in range(3):
            broker.step(1)
        assert broker.queue.counts.done == 3
        broker.run()
    assert numbers(stream) == [1, 2, 3]
    assert stream.read_text().startswith(head + "----- Begin chunk")
    assert stream.read_text().count("CrystFEL stream format") == 1
    assert not part_path(stream, 1).exists()
    assert join_parts(stream) == {}


@pytest.mark.parametrize(
    "options",
    [["-o", "x"], ["-ox"], ["--zmq-input=tcp://1"], ["--peaks", "cxi"], ["--no-non-hits-in-stream"], ["-ginput"]],
)
def test_options_of_indexamajig_that_are_ours_are_refused(options: list[str]) -> None:
    with pytest.raises(ValueError, match="cannot be given to indexamajig"):
        check_options(options)


def test_other_options_of_indexamajig_are_not_refused() -> None:
    check_options(["--indexing=xgandalf", "--int-radius=3,4,6", "-j", "4", "-p", "a.cell", "--min-peaks=10"])


# The finder's process


@pytest.fixture(scope="module")
def frames(small_detector: Detector) -> list[tuple[np.ndarray, np.ndarray | None]]:
    simulator = Simulator(small_detector, scene=Scene(hit_fraction=0.7), response=Response(hot=0.0001), seed=4)
    made = [simulator.event(n).frame for n in range(24)]
    mask = np.ones(made[0].shape, bool)
    mask[0, :20] = False
    return [(frame, mask if n % 3 == 0 else None) for n, frame in enumerate(made)]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_finders_process_finds_and_learns_what_a_finder_does(
    small_detector: Detector, frames: list[tuple[np.ndarray, np.ndarray | None]], threads: int
) -> None:
    finder = PeakFinder(geometry=small_detector)
    expected = list(finder.outcomes(frames))
    with FinderProcess(PeakFinder(geometry=small_detector), threads) as process:
        found = list(process.outcomes([*frames[:10], None, *frames[10:], None]))
        learned = process.learned_state()
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    state = finder.learned_state()
    assert (learned.gain, learned.frames) == (state.gain, state.frames)
    np.testing.assert_array_equal(learned.pixels, state.pixels)


@pytest.mark.parametrize("threads", [1, 3])
def test_no_frame_is_lost_when_the_finders_process_is_killed(
    small_detector: Detector, frames: list[tuple[np.ndarray, np.ndarray | None]], threads: int
) -> None:
    config = CandidateConfig(bad_pixels="keep")  # what was learned since the last stretch is lost with the process
    expected = list(PeakFinder(config, geometry=small_detector).outcomes(frames))
    with FinderProcess(PeakFinder(config, geometry=small_detector), threads) as process:

        def killing() -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
            for number, item in enumerate(frames):
                if number in (1, 9, 10):
                    os.kill(process.pid, signal.SIGKILL)
                yield item

        found = list(process.outcomes(killing()))
        assert process.deaths >= 2
        assert process.learned_state().gain == 10
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_large_masks_and_many_peaks_cross_each_other() -> None:
    """The run sends a mask of each frame while the process answers, neither of which a socket's buffer holds."""
    detector = load_detector("rayonix_mx170")
    frame = np.random.default_rng(1).poisson(10, detector.shape).astype(np.float32)
    frame[0, 5::12, 5::12] = 1000
    frames = [(frame, np.ones(detector.shape, bool)) for _ in range(6)]
    config = Peakfinder8Config(adc_threshold=100.0, min_snr=3.0, min_pixels=1)
    with FinderProcess(PeakFinder(config, geometry=detector)) as process:
        found = list(process.outcomes(frames))
    assert min(len(peaks) for peaks in found) > 20_000


def test_a_frame_that_kills_the_finder_is_left_out(
    small_detector: Detector, frames: list[tuple[np.ndarray, np.ndarray | None]]
) -> None:
    with FinderProcess(PeakFinder(geometry=small_detector)) as process:
        start = process._start

        def start_and_kill() -> None:
            start()
            if process.deaths < 3:
                os.kill(process.pid, signal.SIGKILL)

        process._start = start_and_kill  # type: ignore[method-assign]
        first, second = process.outcomes(frames[:2])
    assert isinstance(first, ValueError)
    assert "died 3 times over this frame" in str(first)
    assert not isinstance(second, ValueError)


def test_a_wrong_frame_is_refused_and_the_next_is_found(
    small_detector: Detector, frames: list[tuple[np.ndarray, np.ndarray | None]]
) -> None:
    frame = frames[0][0]
    bad = [(frame[:, :5], None), (frame, None), (frame, np.zeros(frame.shape, bool)), (frame, None)]
    with FinderProcess(PeakFinder(geometry=small_detector)) as process:
        found = list(process.outcomes(bad))
    assert [isinstance(outcome, ValueError) for outcome in found] == [True, False, True, False]
    np.testing.assert_array_equal(found[1], found[3])


# The command


@pytest.fixture(scope="module")
def live_run(tmp_path_factory: pytest.TempPathFactory, small_detector: Detector) -> Path:
    """Sixty simulated events, half of them hits, and a program that plays indexamajig."""
    folder = tmp_path_factory.mktemp("live")
    scene = Scene(hit_fraction=0.6, photons=(3000.0, 30000.0), background=(1.0, 3.0), d_min=2.5)
    simulator = Simulator(small_detector, scene=scene, response=Response(hot=0), cell=(60.0, 70.0, 80.0, 90.0, 90.0, 90.0),
                          space_group="P 21 21 21", seed=4)  # fmt: skip
    write_run(folder / "run.cxi", simulator, (simulator.event(n) for n in range(60)))
    program = folder / "bin" / "indexamajig"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n" + Path(fake_indexamajig.__file__).read_text())
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder / "run.cxi"


def live(run: Path, out: Path, *extra: object, real: bool = False) -> subprocess.Popen[str]:
    """Start peakrt live, by default with the program that plays indexamajig."""
    path = os.environ["PATH"] if real else f"{run.parent / 'bin'}:{os.environ['PATH']}"
    command = ["live", run, "-g", run.with_suffix(".geom"), "-o", out, "--json", out.with_suffix(".json"), *extra]
    return subprocess.Popen(
        [sys.executable, "-m", "peakrt.cli", *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PATH": path},
    )  # fmt: skip


def finished(process: subprocess.Popen[str], out: Path) -> tuple[dict[str, Any], str]:
    """What it wrote and said at its end."""
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return json.loads(out.with_suffix(".json").read_text()), said


def test_live_writes_the_cxi_of_find_and_a_stream_of_its_hits(live_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.cxi"
    record, said = finished(live(live_run, out, "-j", 2), out)
    done = peakrt("find", live_run, "-g", live_run.with_suffix(".geom"), "-o", tmp_path / "found.cxi")
    assert done.returncode == 0
    with h5py.File(out) as ours, h5py.File(tmp_path / "found.cxi") as theirs:
        for name in ("/LCLS/eventNumber", "/entry_1/result_1/nPeaks", "/entry_1/data_1/data", "/peakrt/source"):
            np.testing.assert_array_equal(ours[name], theirs[name])
        names = [name.decode() for name in ours["/peakrt/source"]]
    found = sorted(chunks(tmp_path / "out.stream"), key=lambda chunk: chunk.number or 0)
    assert [chunk.event for chunk in found] == names  # each hit once
    assert 20 < len(found) == record["hits"] == record["indexing"]["done"]
    assert record["indexing"]["not_in_the_stream"] == 0
    assert f"of {len(found)} hits" in said
    left = {path.name for path in tmp_path.glob("out.*")}
    assert left == {"out.cxi", "out.lst", "out.geom", "out.json", "out.stream", "out.stream.log", "out.stream.geom"}
    refused = peakrt("live", live_run, "-o", out)
    assert refused.returncode == 1
    assert "exists" in refused.stderr


def workers_of(master: int) -> list[int]:
    """Children of a process."""
    with suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]
    return []


def descendants(pid: int) -> list[int]:
    """Children of a process, and theirs."""
    return [pid for child in workers_of(pid) for pid in (child, *descendants(child))]


def children(pid: int, word: str) -> list[int]:
    """Children of a process with a word in their command line."""
    return [child for child in workers_of(pid) if word in Path(f"/proc/{child}/cmdline").read_text()]


def wait_for(what: Callable[[], Any], seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


def test_monitor_finder_worker_and_indexamajig_are_killed(live_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.cxi"
    monitor = ["--monitor"] if find_spec("starlette") and find_spec("uvicorn") else []
    process = live(live_run, out, "--rate", 8, "--indexers", 2, *monitor, "--", "--seconds=0.05")
    part = part_path(tmp_path / "out.stream", 1)
    wait_for(lambda: part.exists() and part.read_text().count("End chunk") >= 2)
    (broker,) = children(process.pid, "broker")
    (master,) = workers_of(broker)
    os.kill(workers_of(master)[0], signal.SIGKILL)
    os.kill(children(process.pid, "finder_child")[0], signal.SIGKILL)
    if monitor:
        os.kill(children(process.pid, "peakrt.monitor")[0], signal.SIGKILL)
    wait_for(lambda: part.read_text().count("End chunk") >= 8)
    os.kill(master, signal.SIGKILL)
    record, _ = finished(process, out)
    assert record["events"] == 60
    assert sorted(numbers(tmp_path / "out.stream")) == list(range(1, record["hits"] + 1))
    index = record["indexing"]
    assert (index["not_in_the_stream"], index["finder_deaths"], index["broker_restarts"]) == (0, 1, 0)
    assert index["indexamajig_starts"] == 2
    assert not list(tmp_path.glob("*.inprogress*"))


@pytest.mark.parametrize("images", ["raw", "none"])
def test_the_broker_is_killed(live_run: Path, tmp_path: Path, images: str) -> None:
    """What it held is handed out again from the CXI, or, where that has no images, counted and said."""
    out = tmp_path / "out.cxi"
    process = live(
        live_run, out, "--rate", 20, "--indexers", 1, "--images", images, "--flush-s", 0.2, "--", "--seconds=0.25"
    )
    part = part_path(tmp_path / "out.stream", 1)
    wait_for(lambda: part.exists() and part.read_text().count("End chunk") >= 3)
    (broker,) = children(process.pid, "broker")
    (master,) = workers_of(broker)
    os.kill(broker, signal.SIGKILL)
    record, said = finished(process, out)
    found = chunks(tmp_path / "out.stream")
    there = sorted(chunk.number for chunk in found if chunk.number is not None)
    lost = sorted(set(range(1, record["hits"] + 1)) - set(there))
    assert len(there) == len(set(there)) == record["hits"] - len(lost)
    index = record["indexing"]
    assert (index["not_in_the_stream"], index["broker_restarts"]) == (len(lost), 1)
    if images == "raw":
        assert not lost
        with h5py.File(out) as file:
            peaks = {n: int(file["/entry_1/result_1/nPeaks"][n - 1]) for n in there}
        assert {chunk.number: chunk.n_peaks for chunk in found} == peaks
    else:
        assert lost
        assert f"{len(lost)} hits are not in the stream" in said
    assert not Path(f"/proc/{master}").exists()


def test_an_end_that_a_killed_broker_has_not_read_ends_no_other(
    live_run: Path, small_detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next broker reads it first, and the hits that come after it are handed out all the same."""
    monkeypatch.setenv("PATH", f"{live_run.parent / 'bin'}:{os.environ['PATH']}")
    detector = replace(small_detector, adu_per_photon=10.0)
    options = ["--memory", "64", "--when-full", "block", "--indexers", "1", "--", "--seconds=0.05"]
    with Indexing(detector, tmp_path / "out.stream", options) as indexing:
        indexing.wait_until_ready(lambda: False)
        assert indexing.send(a_hit(1))
        wait_for(lambda: 1 in indexing.done)
        os.kill(indexing._process.pid, signal.SIGKILL)
        wait_for(lambda: indexing.restarts)
        indexing._sender.end()
        state = indexing.finish(lambda: False, lambda text: None, lambda: [a_hit(number) for number in (2, 3, 4)])
        assert indexing.restarts == 1
    assert numbers(tmp_path / "out.stream") == [1, 2, 3, 4]
    assert state["done"] == 4


def test_a_run_that_is_killed_leaves_what_it_handed_out_indexed(live_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.cxi"
    process = live(live_run, out, "--rate", 10, "--flush-s", 0.2, "--", "--seconds=0.1")
    part = part_path(tmp_path / "out.stream", 1)
    wait_for(lambda: part.exists() and part.read_text().count("End chunk") >= 2)
    (broker,) = children(process.pid, "broker")
    process.kill()
    process.communicate()
    wait_for((tmp_path / "out.stream").exists)
    wait_for(lambda: not Path(f"/proc/{broker}").exists())
    there = numbers(tmp_path / "out.stream")
    assert there
    assert sorted(there) == list(range(1, len(there) + 1))


def test_ctrl_c_finishes_the_files_and_indexes_what_was_found(live_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.cxi"
    process = live(live_run, out, "--rate", 8, "--", "--seconds=0.1")
    wait_for((tmp_path / "out.cxi.inprogress").exists)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    record, said = finished(process, out)
    assert "stopped by the user" in said
    assert 0 < record["events"] < 60
    assert len(numbers(tmp_path / "out.stream")) == record["hits"] == record["indexing"]["done"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_batch_system_signals_every_process(live_run: Path, tmp_path: Path, number: int) -> None:
    """The run is what ends in order; nothing that it has started ends before it, but for indexamajig, which is replaced."""
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("these tests run under nohup, where a closed terminal ends nothing")
    out = tmp_path / "out.cxi"
    process = live(live_run, out, "--rate", 4, "--indexers", 2, "--", "--seconds=0.1")
    part = part_path(tmp_path / "out.stream", 1)
    wait_for(lambda: part.exists() and part.read_text().count("End chunk") >= 2)
    for pid in [process.pid, *descendants(process.pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    record, said = finished(process, out)
    assert "stopped by the user" in said
    assert 0 < record["events"] < 60
    assert sorted(numbers(tmp_path / "out.stream")) == list(range(1, record["hits"] + 1))
    assert (record["indexing"]["finder_deaths"], record["indexing"]["broker_restarts"]) == (0, 0)


def test_a_second_ctrl_c_leaves_the_rest_unindexed_and_says_which(live_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.cxi"
    process = live(live_run, out, "--indexers", 1, "--", "--seconds=2")
    wait_for(out.exists)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    record, said = finished(process, out)
    left = record["indexing"]["not_in_the_stream"]
    assert 0 < left <= record["hits"]
    assert len((tmp_path / "out.unindexed.lst").read_text().splitlines()) == left
    assert f"{left} hits are not in the stream" in said
    assert "left_out" in record["indexing"]  # which the broker tells where it has ended in order


def test_an_indexamajig_that_cannot_start_is_an_error_at_once(live_run: Path, tmp_path: Path) -> None:
    process = live(live_run, tmp_path / "out.cxi", "--", "--fail")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    (error,) = [line for line in errors.splitlines() if "error" in line]
    assert "told to fail" in error
    assert "--no-indexing" in error
    assert not (tmp_path / "out.cxi").exists()


def test_an_address_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        taken = f"tcp://127.0.0.1:{port}"
        command = ["broker", "--hits", f"ipc://{tmp_path}/hits", "--status", f"ipc://{tmp_path}/status", "--workers", taken,
                   "--stream", tmp_path / "out.stream"]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "peakrt.cli", *map(str, command)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"peakrt: error: cannot listen at {taken}: Address already in use"]


def test_peaks_alone(live_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.cxi"
    record, _ = finished(live(live_run, out, "--no-indexing", "-n", 12), out)
    assert record["events"] == 12
    assert record["indexing"] is None
    assert not (tmp_path / "out.stream").exists()


@pytest.mark.crystfel
def test_the_yield_is_that_from_files(live_run: Path, tmp_path: Path) -> None:
    """The same chunks, but for their order and names, as indexamajig makes of the CXI on the side."""
    out = tmp_path / "out.cxi"
    cell = live_run.with_suffix(".cell")
    record, _ = finished(live(live_run, out, "-n", 24, "-p", cell, real=True), out)
    command = ["indexamajig", "-i", tmp_path / "out.lst", "-g", tmp_path / "out.geom", "--peaks=cxi", "--indexing=asdf",
               "-p", cell, "-j", "2", "-o", tmp_path / "files.stream"]  # fmt: skip
    subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=tmp_path)
    ours = sorted(chunks(tmp_path / "out.stream"), key=lambda chunk: chunk.number or 0)
    theirs = sorted(chunks(tmp_path / "files.stream"), key=lambda chunk: int(chunk.event.removeprefix("//")))
    assert len(ours) == len(theirs) == record["hits"]
    for live_chunk, chunk in zip(ours, theirs, strict=True):
        assert live_chunk.n_peaks == chunk.n_peaks
        assert live_chunk.indexed_by == chunk.indexed_by
        for crystal, other in zip(live_chunk.crystals, chunk.crystals, strict=True):
            assert crystal.cell == pytest.approx(other.cell, rel=0.01)
    assert record["indexing"]["indexed"] == sum(bool(chunk.crystals) for chunk in theirs) > 5


@pytest.mark.crystfel
def test_a_worker_of_the_real_indexamajig_is_killed(live_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.cxi"
    process = live(live_run, out, "-n", 24, "--indexers", 2, real=True)
    part = part_path(tmp_path / "out.stream", 1)
    wait_for(lambda: part.exists() and part.read_text().count("End chunk") >= 2)
    (broker,) = children(process.pid, "broker")
    (master,) = workers_of(broker)
    os.kill(workers_of(master)[0], signal.SIGKILL)
    record, _ = finished(process, out)
    assert sorted(numbers(tmp_path / "out.stream")) == list(range(1, record["hits"] + 1))
    assert record["indexing"]["not_in_the_stream"] == 0


@pytest.mark.crystfel
def test_an_indexamajig_of_the_users_own(live_run: Path, tmp_path: Path) -> None:
    """peakrt live prints its command, waits for it, and gives it the hits."""
    out, log = tmp_path / "out.cxi", tmp_path / "own.log"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    command = ["live", live_run, "-g", live_run.with_suffix(".geom"), "-p", live_run.with_suffix(".cell"), "-o", out, "-n", 12,
               "--workers", address, "--indexers", 1, "--json", tmp_path / "out.json"]  # fmt: skip
    with (
        (tmp_path / "said").open("w+") as said,
        subprocess.Popen(
            [sys.executable, "-m", "peakrt.cli", *map(str, command)], stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        told = "hits are given to this indexamajig: "
        line = wait_for(lambda: re.search(f"{told}(.*)\n", (tmp_path / "said").read_text()))
        assert not out.exists()
        with (
            log.open("w") as file,
            subprocess.Popen(
                shlex.split(line[1]), stdout=file, stderr=file, cwd=tmp_path, start_new_session=True
            ) as own,
        ):
            try:
                process.communicate(timeout=120)
            finally:
                os.killpg(own.pid, signal.SIGKILL)  # its workers as well
    record = json.loads((tmp_path / "out.json").read_text())
    assert process.returncode == 0, (tmp_path / "said").read_text()
    assert sorted(numbers(tmp_path / "out.stream")) == list(range(1, record["hits"] + 1))
    assert record["indexing"]["indexed"] > 3
    assert record["indexing"]["indexamajig_starts"] == 0
