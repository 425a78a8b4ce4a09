"""The node's server, with real processes: same peaks, turns, deaths of clients and servers, strangers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peakrt import PeakFinder, Peakfinder8Config, V3r3Config
from peakrt.config import CandidateConfig
from peakrt.serve import wire
from peakrt.serve.remote import RemoteFinder, server_status
from peakrt.serve.server import Server

from .host_gpu import HostGpu

HELLO = {
    "version": wire.VERSION, "ask": "finder", "finder": "v3r3", "options": {}, "geometry": None, "place": "",
    "shape": [1, 8, 8], "slots": 2, "slot_bytes": 4096, "deaths": 0, "resent": 0,
}  # fmt: skip
CONFIG = Peakfinder8Config(adc_threshold=20.0, min_snr=5.0)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    return folder / "s.sock"


@pytest.fixture
def served(place: Path):
    """A server in this process."""
    server = Server(place, linger_s=30, workers=2)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield place
    server.stop()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert not place.exists()


def frames(n: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        frame = rng.poisson(20, (1, 256, 256)).astype(np.float32)
        for _ in range(20):
            ss, fs = rng.integers(5, 250, 2)
            frame[0, ss : ss + 3, fs : fs + 3] += rng.integers(60, 400)
        out.append(frame)
    return out


def start_server(place: Path, linger: float = 20.0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "peakrt.cli", "serve", "--socket", str(place), "--linger", str(linger), "-j", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "serving at" in process.stdout.readline()
    return process


@pytest.mark.parametrize("config", [CONFIG, V3r3Config(nsigm=4.0), CandidateConfig(gain=1.0, bad_pixels="keep")])
def test_served_peaks_are_the_finders_own(served: Path, small_detector, config) -> None:
    mask = np.ones((1, 256, 256), bool)
    mask[0, :20, :30] = False
    local = PeakFinder(config, geometry=small_detector, mask=mask)
    with RemoteFinder(config, geometry=small_detector, mask=mask, path=served) as remote:
        given = frames(7)
        table = remote.find(given)
        for peaks, frame in zip(table, given, strict=True):
            assert peaks.tobytes() == local(frame).tobytes()
        assert remote(given[2].astype(np.uint16)).tobytes() == local(given[2].astype(np.uint16)).tobytes()
    assert sum(map(len, table)) > 20


def test_errors_of_a_frame_come_back_as_errors(served: Path, small_detector) -> None:
    with RemoteFinder(CONFIG, geometry=small_detector, path=served) as remote:
        with pytest.raises(ValueError, match="no good pixel of the frame is a number"):
            remote(np.full((1, 256, 256), np.nan, np.float32))
        assert len(remote(frames(1)[0])) > 0
        with pytest.raises(ValueError, match="the first had"):
            remote(np.zeros((1, 8, 8)))
    with RemoteFinder(CONFIG, path=served) as remote, pytest.raises(ValueError, match="needs a geometry"):
        remote(frames(1)[0])


def test_server_starts_on_demand_for_many_and_goes_with_the_last(place: Path, small_detector, tmp_path: Path) -> None:
    from peakrt_geometry import write_geom

    write_geom(small_detector, tmp_path / "g.geom", comment="")
    client = """
import sys, numpy as np
from pathlib import Path
from typing import Any
from peakrt import Peakfinder8Config
from peakrt.serve.remote import RemoteFinder
from peakrt_geometry import read_geom
sys.path.insert(0, sys.argv[4])
from tests.test_serve import frames
with RemoteFinder(Peakfinder8Config(adc_threshold=20.0, min_snr=5.0), geometry=read_geom(sys.argv[2]), path=Path(sys.argv[1])) as finder:
    print([len(peaks) for peaks in finder.find(frames(20, int(sys.argv[3])))])
"""
    root = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-c", client, str(place), str(tmp_path / "g.geom")]
    clients = [subprocess.Popen([*command, str(k), root], stdout=subprocess.PIPE, text=True) for k in range(4)]
    outputs = [process.communicate(timeout=120)[0] for process in clients]
    local = PeakFinder(CONFIG, geometry=small_detector)
    for k, output in enumerate(outputs):
        assert eval_list(output) == [len(local(frame)) for frame in frames(20, k)]
    assert place.with_suffix(".log").read_text().count("serving at") == 1
    until = time.monotonic() + 20
    while place.exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not place.exists()


def eval_list(text: str) -> list[int]:
    return [int(number) for number in text.strip().strip("[]").split(",")]


def test_death_of_a_client_leaves_the_others_alone(served: Path, small_detector) -> None:
    code = """
import sys, time, numpy as np
from pathlib import Path
from peakrt import V3r3Config
from peakrt.serve.remote import RemoteFinder
finder = RemoteFinder(V3r3Config(), path=Path(sys.argv[1]), slots=8)
for k in range(8):
    finder._submit(np.zeros((1, 256, 256), np.float32) + k)
print("sent", flush=True)
time.sleep(60)
"""
    victim = subprocess.Popen([sys.executable, "-c", code, str(served)], stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "sent\n"
    with RemoteFinder(CONFIG, geometry=small_detector, path=served) as remote:
        before = remote.find(frames(5))
        victim.kill()
        victim.communicate()
        after = remote.find(frames(5))
    assert before.peaks.tobytes() == after.peaks.tobytes()


def test_death_of_the_server_loses_no_frame_and_doubles_none(place: Path, small_detector) -> None:
    """Killed at random; every frame is answered once, and rightly."""
    given = frames(12)
    local = PeakFinder(CONFIG, geometry=small_detector)
    expected = [local(frame).tobytes() for frame in given]
    stop = threading.Event()
    kills: list[int] = []

    def kill_now_and_then() -> None:
        rng = random.Random(1)
        while not stop.wait(rng.uniform(0.5, 0.9)) and len(kills) < 4:
            found = subprocess.run(
                ["pgrep", "-f", f"peakrt.cli serve --socket {place}"], capture_output=True, text=True, check=False
            )
            for process in found.stdout.split():
                with contextlib.suppress(ProcessLookupError):  # it has ended since it was listed
                    os.kill(int(process), signal.SIGKILL)
                    kills.append(int(process))

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    answered = 0
    with RemoteFinder(CONFIG, geometry=small_detector, path=place) as remote:
        until = time.monotonic() + 6
        while time.monotonic() < until or answered < 200:
            for peaks, right in zip(remote.map(given), expected, strict=True):
                assert peaks.tobytes() == right
                answered += 1
        assert not remote._flying
        assert not remote._answers
    stop.set()
    killer.join()
    assert kills


def test_a_server_that_cannot_live_is_an_error(place: Path, small_detector, monkeypatch: pytest.MonkeyPatch) -> None:
    import peakrt.serve.remote as module

    monkeypatch.setattr(module, "_START_S", 1.0)
    monkeypatch.setattr(module, "_command", lambda path: [sys.executable, "-c", "raise SystemExit(1)"])
    with (
        RemoteFinder(CONFIG, geometry=small_detector, path=place) as remote,
        pytest.raises(RuntimeError, match="no server came up"),
    ):
        remote(frames(1)[0])


def test_another_version_is_refused_with_the_reason(served: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(served))
        wire.send(connection, {"version": 99})
        answer, _ = wire.receive(connection)
    assert "of different PeakRTs" in answer["error"]


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [0, 4, 4]},
        {"slots": 1000},
        {"finder": "nosuch"},
        {"options": {"colour": 1}},
        {"geometry": "p0/min_fs = x"},
    ],
)
def test_senseless_greetings_are_refused(served: Path, change: dict) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(served))
        wire.send(connection, {**HELLO, **change})
        answer, _ = wire.receive(connection)
    assert answer["error"]


@pytest.mark.parametrize(
    ("size", "seals", "message"), [(4096, fcntl.F_SEAL_SHRINK, "smaller than its slots"), (8192, 0, "not sealed")]
)
def test_memory_that_could_vanish_is_refused(served: Path, size: int, seals: int, message: str) -> None:
    memory = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, size)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(served))
        wire.send(connection, HELLO, descriptors=[memory])
        assert message in wire.receive(connection)[0]["error"]
    os.close(memory)


def test_long_messages_are_refused_before_memory_is_taken(served: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(served))
        connection.sendall(wire._LENGTHS.pack(2**31, 2**31))
        assert "at most" in wire.receive(connection)[0]["error"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_foreign_user_is_turned_away(served: Path) -> None:
    for folder in (served.parent, *served.parents[1:4]):
        folder.chmod(0o755)
    served.chmod(0o666)
    code = f"""
import os, socket, sys
sys.path.insert(0, {str(Path(wire.__file__).parents[1])!r})
os.setgid(65534); os.setuid(65534)
connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
connection.connect({str(served)!r})
print(connection.recv(1000).decode(errors="replace"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another user" in done.stdout, done.stderr


def test_folders_that_others_can_enter_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "open"))
    with pytest.raises(PermissionError, match="belongs to you alone"):
        wire.socket_path()
    with pytest.raises(PermissionError):
        Server(tmp_path / "open/s.sock")


def test_a_folder_that_the_node_does_not_have_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As XDG_RUNTIME_DIR in many batch jobs."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "no/such/folder"))
    assert wire.private_folder() == Path(f"/tmp/peakrt-{os.getuid()}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "new"))
    assert wire.private_folder() == tmp_path / "new"


def test_two_servers_at_one_place_are_one_too_many(served: Path) -> None:
    with pytest.raises(FileExistsError, match="listens"):
        Server(served)


def test_dead_servers_socket_is_taken_over(place: Path) -> None:
    process = start_server(place)
    process.kill()
    process.communicate()
    assert place.exists()
    process = start_server(place, linger=0.3)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert not place.exists()


def test_server_takes_the_frames_of_several_ranks_together_for_a_gpu(
    place: Path, host_gpu: HostGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the frames that wait go as one batch, each answer to whom it belongs; a bad frame spoils no other."""
    monkeypatch.setattr("peakrt.gpu.batches.check_gpu", lambda: host_gpu)
    server = Server(place, linger_s=30, workers=4, engine="cuda")
    batches: list[int] = []
    answer = server._answer
    release = threading.Event()

    def slowly(taken: list[Any], finder: PeakFinder) -> None:
        monkeypatch.setattr(server, "_answer", answer)  # a batch with a bad frame is answered frame by frame
        batches.append(len(taken))
        release.wait(20)  # until all have asked
        answer(taken, finder)
        monkeypatch.setattr(server, "_answer", slowly)

    monkeypatch.setattr(server, "_answer", slowly)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    config = CandidateConfig(gain=1.0, bad_pixels="keep")
    runs = [frames(3, seed) for seed in range(3)]
    runs[1][1] = np.full((1, 256, 256), np.nan, np.float32)
    found: dict[int, list[Any]] = {}

    def rank(number: int) -> None:
        with RemoteFinder(config, path=place) as finder:
            numbers = [finder._submit(frame) for frame in runs[number]]
            answers = []
            for k in numbers:
                try:
                    answers.append(finder._result(k))
                except ValueError as error:
                    answers.append(error)
            found[number] = answers

    ranks = [threading.Thread(target=rank, args=(number,)) for number in range(3)]
    for one in ranks:
        one.start()
    until = time.monotonic() + 20
    while server_status(place)["waiting"] + sum(batches) < 9 and time.monotonic() < until:
        time.sleep(0.02)
    release.set()
    for one in ranks:
        one.join(60)
    expected = PeakFinder(config)
    for number, run in enumerate(runs):
        for k, frame in enumerate(run):
            if (number, k) == (1, 1):
                assert "no good pixel of the frame is a number" in str(found[1][1])
            else:
                np.testing.assert_array_equal(found[number][k]["ss"], expected(frame)["ss"])
    assert 9 in np.cumsum(batches[:2])  # no worker holds a request while another has the GPU
    server.stop()
    thread.join(timeout=20)


def test_a_finder_without_such_an_engine_is_refused(place: Path, host_gpu: HostGpu) -> None:
    server = Server(place, linger_s=30, workers=1, engine="cuda")
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    with RemoteFinder(V3r3Config(), path=place) as finder, pytest.raises(ValueError, match="runs on the CPU only"):
        finder(frames(1)[0])
    server.stop()
    thread.join(timeout=20)


def test_bench_prints_a_row_for_each_number_of_clients(capsys: pytest.CaptureFixture[str]) -> None:
    from peakrt.cli import main

    assert main(["bench", "serve", "jungfrau1m", "--finder", "peakfinder8", "--clients", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("jungfrau1m, 1x1024x1024")
    assert lines[-2].split()[0] == "2"
    assert all(float(number) > 0 for number in lines[-2].split())
    assert "beside 3 greedy ones" in lines[-1]
    assert main(["bench", "serve", "--finder", "v3r3"]) == 1
    assert "no finder v3r3 to serve" in capsys.readouterr().err
