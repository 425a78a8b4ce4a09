"""The node's server against clients that are malformed, silent, slow or greedy: only they suffer."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peakrt import PeakFinder, Peakfinder8Config, V3r3Config
from peakrt.config import CandidateConfig
from peakrt.serve import wire
from peakrt.serve.fair_queue import FairQueue, Request, Share, Timed
from peakrt.serve.remote import RemoteFinder, server_status
from peakrt.serve.served_finders import ServedFinder
from peakrt.serve.server import Limits, Server

from .test_serve import CONFIG, HELLO, frames, place, start_server

__all__ = ["place"]  # a fixture
WORKERS = 2
REQUEST = {"id": 1, "slot": 0, "dtype": "<f4"}


class Client:
    """A client that says what it is told to say."""

    def __init__(self, path: Path, **changes: Any) -> None:
        self.hello = {**HELLO, **changes}
        pixels = int(np.prod(self.hello["shape"]))
        size = self.hello["slots"] * self.hello["slot_bytes"]
        self.memory = os.memfd_create("test", os.MFD_ALLOW_SEALING)
        rng = np.random.default_rng(1)
        os.ftruncate(self.memory, size)
        for slot in range(self.hello["slots"]):
            os.pwrite(self.memory, rng.poisson(20, pixels).astype("<f4").tobytes(), slot * self.hello["slot_bytes"])
        fcntl.fcntl(self.memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.settimeout(30)
        self.connection.connect(str(path))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()
        os.close(self.memory)

    def greet(self) -> dict[str, Any]:
        wire.send(self.connection, self.hello, descriptors=[self.memory])
        return self.hear()[0]

    def say(self, header: dict[str, Any], payload: bytes = b"") -> None:
        wire.send(self.connection, header, payload)

    def hear(self) -> tuple[dict[str, Any], bytes]:
        return wire.receive(self.connection)

    def answer(self) -> tuple[int, bytes]:
        """Number of the request that is answered, and its peaks."""
        header, payload = self.hear()
        assert header.keys() == {"id", "peaks"}
        return header["id"], payload

    def ended(self) -> bool:
        """Whether the server has ended the connection."""
        try:
            return self.connection.recv(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def server(place: Path, limits: Limits) -> Iterator[Server]:
    """A server in this process, whose limits a test may set by parametrizing limits."""
    server = Server(place, linger_s=60, workers=WORKERS, engine="cpu", limits=limits)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server
    server.stop()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert not place.exists()


def limited(**changes: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("limits", [Limits(**changes)])


def check_served(path: Path) -> None:
    """An honest client gets the peaks of its frames."""
    frame, config = frames(1)[0], V3r3Config(nsigm=4.0)
    with RemoteFinder(config, path=path) as remote:
        assert remote(frame).tobytes() == PeakFinder(config)(frame).tobytes()


def wait_for(path: Path, **wanted: int) -> None:
    """Wait until the server's status has these numbers."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        now = server_status(path)
        if all(now[name] == value for name, value in wanted.items()):
            return
        time.sleep(0.02)
    raise AssertionError(f"{wanted} never came, last was {now}")


# Malformed


@pytest.mark.parametrize(
    "request_",
    [
        {"slot": 0, "dtype": "<f4"},
        {**REQUEST, "id": "1"},
        {**REQUEST, "id": True},
        {**REQUEST, "id": -1},
        {**REQUEST, "id": 10**30},
        {**REQUEST, "id": 1.0},
        {**REQUEST, "slot": 2},
        {**REQUEST, "slot": -1},
        {**REQUEST, "slot": None},
        {**REQUEST, "dtype": "O"},
        {**REQUEST, "dtype": "<f2"},
        {**REQUEST, "dtype": ">f4"},
        {**REQUEST, "dtype": "<f400"},
        {**REQUEST, "dtype": ["<f4"]},
        {**REQUEST, "more": 1},
        {"error": "x"},
        {},
    ],
)
def test_a_malformed_request_ends_its_client_and_no_worker(server: Server, place: Path, request_: dict) -> None:
    for _ in range(WORKERS + 1):
        with Client(place) as client:
            assert client.greet()["ok"]
            client.say(request_)
            assert client.hear()[0].keys() == {"error"}
            assert client.ended()
    check_served(place)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [8, 8]},
        {"shape": [1, 8, 8.0]},
        {"shape": [1, 8, True]},
        {"shape": [10**9, 10**9, 10**9]},
        {"shape": "188"},
        {"slots": 0},
        {"slots": 1000},
        {"slot_bytes": 1 << 40},
        {"resent": 3},
        {"deaths": -1},
        {"place": "x" * 1000},
        {"geometry": 5},
        {"options": []},
        {"options": {"rank": 10**12}},
        {"options": {"rank": "3"}},
        {"options": {"rank": True}},
        {"options": {"nsigm": float("nan")}},
        {"options": {"rank": [[[[]]]]}},
        {"finder": "candidate", "options": {"gain": -1.0}},
        {"finder": "candidate", "options": {"model": "/dev/zero"}},
        {"finder": "peakfinder8", "options": {"background_radius": 10**6}},
        {"finder": "peakfinder8", "options": {}},
        {"geometry": "p0/min_fs = 0\np0/max_fs = 1000000000\np0/min_ss = 0\np0/max_ss = 1000000000\n"},
        {"version": None},
        {"version": 1},
        {"ask": "status"},
        {"ask": "money"},
        {"unknown": 1},
    ],
)
def test_a_senseless_greeting_is_refused_with_the_reason(server: Server, place: Path, change: dict) -> None:
    with Client(place) as client:
        client.hello = {**client.hello, **change}
        answer = client.greet()
        assert answer.keys() == {"error"}
        assert answer["error"]
        assert client.ended()
    check_served(place)


def test_a_mask_of_another_size_is_refused(server: Server, place: Path) -> None:
    with Client(place) as client:
        wire.send(client.connection, client.hello, b"\xff" * 7, [client.memory])
        assert "mask of 7 bytes" in client.hear()[0]["error"]


def test_what_is_no_memory_is_refused(server: Server, place: Path) -> None:
    with open(os.devnull) as file, Client(place) as client:
        wire.send(client.connection, client.hello, descriptors=[file.fileno()])
        assert "memory" in client.hear()[0]["error"]
    with Client(place) as client:
        wire.send(client.connection, client.hello)
        assert "no memory came" in client.hear()[0]["error"]


def test_many_descriptors_leave_none_behind(server: Server, place: Path) -> None:
    check_served(place)
    wait_for(place, clients=0)
    before = server_status(place)["descriptors"]
    for _ in range(5):
        with Client(place) as client:
            message = wire.encode(client.hello)
            for part in (message[:1], message[1:2], message[2:]):
                socket.send_fds(client.connection, [part], [client.memory] * 20)
            assert client.hear()[0]["ok"]
            socket.send_fds(client.connection, [wire.encode(REQUEST)], [client.memory] * 20)
            assert client.hear()[0]["id"] == 1
    wait_for(place, clients=0, descriptors=before, mapped_bytes=0)
    assert "memfd:test" not in Path("/proc/self/maps").read_text()


def test_a_message_before_the_greeting_is_answered_is_refused(server: Server, place: Path) -> None:
    with Client(place) as client:
        message = wire.encode(client.hello) + wire.encode(REQUEST)
        socket.send_fds(client.connection, [message[:1]], [client.memory])
        client.connection.sendall(message[1:])
        assert "before the greeting was answered" in client.hear()[0]["error"]
    check_served(place)


# Silent


@limited(greeting_s=0.5, message_s=0.5)
def test_silence_and_half_messages_are_dropped_an_idle_client_is_not(server: Server, place: Path) -> None:
    with (
        Client(place) as idle, Client(place) as silent, Client(place) as half_hello, Client(place) as half_request,
        Client(place) as dribbling,
    ):  # fmt: skip
        assert idle.greet()["ok"]
        assert half_request.greet()["ok"]
        assert dribbling.greet()["ok"]
        half_hello.connection.sendall(wire.encode(half_hello.hello)[:50])
        half_request.connection.sendall(wire.encode(REQUEST)[:9])
        for client in (silent, half_hello, half_request):
            assert "took more than" in client.hear()[0]["error"]
            assert client.ended()
        dribbling.connection.sendall(wire._LENGTHS.pack(wire.MAX_HEADER, 0))
        with suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(wire.MAX_HEADER):
                dribbling.connection.sendall(b" ")
                time.sleep(0.02)
        assert "took more than" in dribbling.hear()[0]["error"]
        idle.say(REQUEST)
        assert idle.hear()[0]["id"] == 1
    check_served(place)


# Slow


NOISY = {"finder": "v3r3", "options": {"rank": 1, "nsigm": 0.0, "son_min": 0.0, "amax_thr": 0.0, "atot_thr": 0.0, "npix_min": 1}}  # fmt: skip


@limited(unread_bytes=1 << 16)
def test_readers_that_never_read_hold_neither_workers_nor_memory(server: Server, place: Path) -> None:
    shape, n = [1, 512, 512], 16
    with (
        Client(place, shape=shape, slots=n, slot_bytes=1 << 20, **NOISY) as one,
        Client(place, shape=shape, slots=n, slot_bytes=1 << 20, **NOISY) as two,
    ):
        for client in (one, two):
            assert client.greet()["ok"]
            for slot in range(n):
                client.say({"id": slot, "slot": slot, "dtype": "<f4"})
        for _ in range(3):
            check_served(place)
        now = server_status(place)
        expected = PeakFinder(V3r3Config(**NOISY["options"]))(np.frombuffer(os.pread(one.memory, 1 << 20, 0), "<f4").reshape(shape))  # fmt: skip
        assert expected.nbytes > 1 << 19  # each answer is much more than a socket holds
        assert now["waiting"] > n  # of 32; without a bound all would be in memory by now
        assert now["unread_bytes"] < 2 * (1 + WORKERS) * expected.nbytes
        answers = dict(one.answer() for _ in range(n))  # and all are answered once it reads
        assert sorted(answers) == list(range(n))
        assert answers[0] == expected.tobytes()


def test_a_slow_reader_may_ask_again_only_when_its_answer_has_gone(server: Server, place: Path) -> None:
    with Client(place, shape=[1, 512, 512], slots=1, slot_bytes=1 << 20, **NOISY) as client:
        assert client.greet()["ok"]
        for number in range(3):
            client.say({**REQUEST, "id": number})
            assert client.hear()[0]["id"] == number


# Greedy


def test_a_slot_asked_for_twice_ends_its_client(server: Server, place: Path) -> None:
    with Client(place, shape=[1, 512, 512], slots=2, slot_bytes=1 << 20, **NOISY) as client:
        assert client.greet()["ok"]
        client.connection.sendall(b"".join(wire.encode({**REQUEST, "id": number}) for number in range(3000)))
        said = []
        while not said or "id" in said[-1]:
            said.append(client.hear()[0])
        assert "not answered yet" in said[-1]["error"]
        assert len(said) <= 2
    check_served(place)


@limited(clients=2, mapped_bytes=3 * 8192, finders=2)
def test_clients_memory_and_finders_have_bounds(server: Server, place: Path) -> None:
    with Client(place) as one, Client(place) as two, Client(place) as three:
        assert one.greet()["ok"]
        assert two.greet()["ok"]
        assert "2 clients, the most" in three.greet()["error"]
    wait_for(place, clients=0, mapped_bytes=0)
    with Client(place, slots=4) as one, Client(place, slots=4) as two:
        assert one.greet()["ok"]
        assert "more than the server maps" in two.greet()["error"]
    with Client(place, place="a") as one, Client(place, place="b") as two:
        assert one.greet()["ok"]
        assert two.greet()["ok"]
    with Client(place, place="c") as one:  # those of clients that have gone make room
        wait_for(place, clients=0)
        assert one.greet()["ok"]
    wait_for(place, clients=0, finders=2)


@limited(finders=1)
def test_a_finder_in_use_is_not_put_out(server: Server, place: Path) -> None:
    with Client(place, place="a") as one, Client(place, place="b") as two:
        assert one.greet()["ok"]
        assert "no room for one more" in two.greet()["error"]
        one.say(REQUEST)
        assert one.hear()[0]["id"] == 1


@limited(clients=1)
def test_connections_have_a_bound_and_the_status_is_told_beside_full_clients(server: Server, place: Path) -> None:
    with Client(place) as one:
        assert one.greet()["ok"]
        assert server_status(place)["clients"] == 1
        crowd = [Client(place) for _ in range(70)]
        assert "connections, the most it takes" in crowd[-1].hear()[0]["error"]
        for client in crowd:
            client.connection.close()
            os.close(client.memory)
        one.say(REQUEST)
        assert one.hear()[0]["id"] == 1


@limited(greeting_bytes=1 << 16)
def test_greetings_in_memory_have_a_bound(server: Server, place: Path) -> None:
    with Client(place) as client:
        with suppress(BrokenPipeError):
            client.connection.sendall(wire._LENGTHS.pack(1 << 20, 0) + b" " * (1 << 19))
        assert "bytes of greetings in memory" in client.hear()[0]["error"]
    check_served(place)


# The queue


def shares(*seconds: float) -> list[Share]:
    """Clients whose finders take so long for a frame."""
    made = [Share() for _ in seconds]
    for share, its in zip(made, seconds, strict=True):
        share.finder = Timed()
        share.finder.seconds = its
    return made


def put(queue: FairQueue, client: Share, n: int, number: int) -> None:
    for _ in range(n):
        queue.put(Request(client, number, 0, "<f4"))


def take(queue: FairQueue) -> int:
    request = queue.take()
    assert request is not None
    return request.number


def test_ranks_take_turns_and_one_that_comes_later_is_next() -> None:
    queue: FairQueue[Share] = FairQueue()
    greedy, other, modest = shares(1.0, 1.0, 1.0)
    put(queue, greedy, 6, 1)
    put(queue, other, 3, 2)
    order = [take(queue) for _ in range(3)]
    put(queue, modest, 2, 3)
    order += [take(queue) for _ in range(8)]
    assert order[:4] == [1, 2, 1, 3]
    assert order.index(3, 4) <= 6  # its second is not before the others have had theirs, nor behind all that wait
    assert order[-1] == 1


def test_shares_are_of_time_not_of_frames() -> None:
    queue: FairQueue[Share] = FairQueue()
    slow, quick = shares(10.0, 1.0)
    put(queue, slow, 100, 10)
    put(queue, quick, 100, 1)
    order = [take(queue) for _ in range(44)]
    assert abs(order.count(10) * 10 - order.count(1)) <= 10


def test_finders_on_a_gpu_have_a_worker_of_their_own() -> None:
    """What waits for the GPU is not given to the others, and neither kind's clock holds up the other."""
    queue: FairQueue[Share] = FairQueue()
    on_cpu, on_gpu, late = shares(1.0, 0.001, 1.0)
    on_gpu.finder.together = True
    put(queue, on_gpu, 2, 2)
    put(queue, on_cpu, 3, 1)
    assert [take(queue) for _ in range(2)] == [1, 1]
    first = queue.take(together=True)
    assert first is not None
    assert [first.number, *(request.number for request in queue.take_more(on_gpu.finder, 16))] == [2, 2]
    put(queue, late, 1, 3)
    assert [take(queue) for _ in range(2)] == [3, 1]
    queue.close()
    assert queue.take() is queue.take(together=True) is None


def test_a_finders_time_is_a_mean() -> None:
    queue: FairQueue[Share] = FairQueue()
    finder = Timed()
    queue.learn(finder, 2.0)
    assert finder.seconds == 2.0
    for _ in range(200):
        queue.learn(finder, 4.0)
    assert 3.9 < finder.seconds <= 4.0


def test_held_and_forgotten_ranks_get_nothing_and_finders_are_told_apart() -> None:
    queue: FairQueue[Share] = FairQueue()
    held, gone, one, other = shares(1.0, 1.0, 1.0, 1.0)
    for number, client in enumerate((held, gone, one, other)):
        put(queue, client, 2, number)
    queue.hold(held, True)
    queue.forget(gone)
    assert [request.number for request in queue.take_more(other.finder, 16)] == [3, 3]
    assert [take(queue) for _ in range(2)] == [2, 2]
    queue.hold(held, False)
    assert take(queue) == 0
    queue.close()
    assert queue.take() is None


# Whole


def test_a_defect_of_a_worker_ends_the_server_instead_of_leaving_ranks_waiting(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: ServedFinder) -> PeakFinder:
        raise AttributeError("a defect")

    monkeypatch.setattr(ServedFinder, "take", fail)
    server, failed = Server(place, linger_s=60, workers=1, engine="cpu"), []

    def run() -> None:
        try:
            server.run()
        except RuntimeError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    with Client(place) as client:
        assert client.greet()["ok"]
        client.say(REQUEST)
        assert client.ended()
    thread.join(timeout=30)
    assert "a defect" in str(failed[0].__cause__)


def test_a_signal_ends_the_server_without_a_trace(place: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process = start_server(place)
        with Client(place) as client:
            assert client.greet()["ok"]
            process.send_signal(number)
            process.communicate(timeout=30)
        assert process.returncode == 0
        assert not place.exists()


def test_status_tells_of_the_server(server: Server, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from peakrt.cli import main

    check_served(place)
    with Client(place, deaths=2, resent=1) as client:
        assert client.greet()["ok"]
        assert main(["serve", "--status", "--socket", str(place)]) == 0
    out = capsys.readouterr().out
    assert f"server {os.getpid()} at {place}" in out
    assert "clients    1, 2 finders" in out
    assert "0 waiting, 1 served" in out
    assert "restarts   2, 1 requests sent again" in out
    assert main(["serve", "--status", "--socket", str(place.with_name("none.sock"))]) == 1
    assert "no server listens" in capsys.readouterr().err


def test_an_abandoned_map_leaves_no_answers_behind(server: Server, place: Path) -> None:
    with RemoteFinder(CONFIG_V3R3, path=place) as remote:
        for _ in range(3):
            for _ in remote.map(frames(6)):
                break
        assert len(remote(frames(1)[0])) > 0
        while remote._flying:
            remote._take_answer()
        assert not remote._answers
        assert not remote._unwanted


CONFIG_V3R3 = V3r3Config(nsigm=4.0)


def test_what_is_learned_of_one_place_does_not_touch_another(server: Server, place: Path) -> None:
    """And with a gain that is given and bad pixels kept, an answer depends on its frame alone."""
    rng = np.random.default_rng(3)
    hot = rng.poisson(3, (20, 1, 256, 256)).astype(np.float32)
    hot[:, 0, 100, 100] = 500
    peak = rng.poisson(3, (1, 256, 256)).astype(np.float32)
    peak[0, 99:102, 99:102] += [[60, 120, 60], [120, 400, 120], [60, 120, 60]]
    learning, keeping = CandidateConfig(gain=1.0), CandidateConfig(gain=1.0, bad_pixels="keep")
    with (
        RemoteFinder(learning, path=place, place="a") as one, RemoteFinder(learning, path=place, place="b") as two,
        RemoteFinder(keeping, path=place, place="a") as keeper,
    ):  # fmt: skip
        one.find(hot)
        own = PeakFinder(keeping)
        for peaks, frame in zip(keeper.map(hot), hot, strict=True):
            assert peaks.tobytes() == own(frame).tobytes()
        assert len(own(peak)) == 1
        assert two(peak).tobytes() == keeper(peak).tobytes() == own(peak).tobytes()
        assert len(one(peak)) == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def messages(honest: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Messages with a field changed, lost or added, of wrong lengths, cut, or no messages at all."""
    changed = st.tuples(st.sampled_from(sorted(honest)), JSON).map(lambda change: {**honest, change[0]: change[1]})
    lost = st.sampled_from(sorted(honest)).map(lambda name: {k: v for k, v in honest.items() if k != name})
    added = JSON.map(lambda value: {**honest, "added": value})
    odd = st.one_of(changed, lost, added, JSON).map(lambda header: json.dumps(header).encode())
    texts = odd | st.binary(max_size=40) | st.just(b"[" * 10000) | st.just(b'{"id":' + b"9" * 5000 + b"}")
    framed = texts.map(lambda text: wire._LENGTHS.pack(len(text), 0) + text)
    lengths = st.integers(0, 2**32 - 1)
    lying = st.tuples(lengths, lengths, texts).map(lambda all_: wire._LENGTHS.pack(*all_[:2]) + all_[2])
    cut = st.tuples(framed, st.integers(0, 60)).map(lambda all_: all_[0][: all_[1]])
    return framed | lying | cut | st.binary(max_size=60)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_said_an_honest_rank_is_served(server: Server, place: Path, data: st.DataObject) -> None:
    with Client(place) as client:
        greeted = data.draw(st.booleans())
        if greeted:
            assert client.greet()["ok"]
        said = data.draw(st.lists(messages(REQUEST if greeted else client.hello), min_size=1, max_size=3))
        try:
            for part in said:
                if data.draw(st.booleans()):
                    socket.send_fds(client.connection, [part or b"\0"], [client.memory])
                else:
                    client.connection.sendall(part)
            client.connection.shutdown(socket.SHUT_WR)
            while client.connection.recv(1 << 16):
                pass
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass  # it was thrown out
    with Client(place) as honest:
        assert honest.greet()["ok"]
        honest.say(REQUEST)
        assert honest.hear()[0] == {"id": 1, "peaks": 0}


def test_kills_at_random_lose_double_and_change_nothing(place: Path) -> None:
    """Two ranks with small frames; server and a third rank are killed again and again."""
    rng, config, stop = random.Random(2), Peakfinder8Config(adc_threshold=20.0, min_snr=5.0), threading.Event()
    given_ = [frame[:, :64, :64].copy() for frame in frames(8)]
    assert config == CONFIG
    v3r3 = V3r3Config(nsigm=4.0)
    expected = [PeakFinder(v3r3)(frame).tobytes() for frame in given_]
    counts, wrong, kills = [0, 0], [], 0

    def rank(k: int) -> None:
        with RemoteFinder(v3r3, path=place, slots=3) as remote:
            while not stop.is_set():
                for peaks, right in zip(remote.map(given_), expected, strict=True):
                    counts[k] += 1
                    if peaks.tobytes() != right:
                        wrong.append(k)
            if remote._flying or remote._answers:
                wrong.append(k)

    ranks = [threading.Thread(target=rank, args=(k,)) for k in range(2)]
    for thread in ranks:
        thread.start()
    until = time.monotonic() + 8
    while time.monotonic() < until or min(counts) < 100 or kills < 2:
        before = list(counts)
        victim = subprocess.Popen([sys.executable, "-c", VICTIM, str(place)])
        time.sleep(rng.uniform(0.5, 1.5))
        victim.kill()
        victim.wait()
        if rng.random() < 0.7 and all(now > past for now, past in zip(counts, before, strict=True)):
            os.kill(server_status(place)["pid"], signal.SIGKILL)
            kills += 1
    stop.set()
    for thread in ranks:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert not wrong


VICTIM = """
import sys, numpy as np
from pathlib import Path
from peakrt import V3r3Config
from peakrt.serve.remote import RemoteFinder
finder = RemoteFinder(V3r3Config(nsigm=4.0), path=Path(sys.argv[1]), slots=8)
while True:
    finder.find([np.zeros((1, 64, 64), np.float32)] * 8)
"""
