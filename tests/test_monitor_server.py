"""The monitor's process and its web server, through a real HTTP client, and what a run suffers from them: nothing."""

from __future__ import annotations

import http.client
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
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from peakrt.cli import main
from peakrt.event import Event
from peakrt.monitor import feed as feed_module
from peakrt.monitor import wire
from peakrt.monitor.address import Address, is_loopback, listen, make_token, parse_address, url_of
from peakrt.monitor.feed import Feed, open_monitor
from peakrt.peaks import PEAK
from peakrt.stream_file import Chunk, Crystal
from peakrt_geometry import Detector

from .browser import CHROMIUM, Browser

pytest.importorskip("starlette", reason="the monitor needs the extra monitor")
pytest.importorskip("uvicorn", reason="the monitor needs the extra monitor")

CELL = (79.0, 79.0, 38.0, 90.0, 90.0, 90.0)


@pytest.fixture
def feed(small_detector: Detector) -> Iterator[Feed]:
    opened = open_monitor("0", small_detector, title="a <run> & more", cell=CELL)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def quiet(small_detector: Detector) -> Iterator[Feed]:
    """One that is asked and told nothing."""
    opened = open_monitor("0", small_detector, title="a <run> & more")
    yield opened
    opened.close()


def show_events(feed: Feed, detector: Detector, n: int, *, first: int = 0) -> None:
    """Some events, every other a hit."""
    rng = np.random.default_rng(first)
    for k in range(first, first + n):
        frame = (
            rng.poisson(3, detector.shape).astype(np.uint16) if k - first < 4 else np.zeros(detector.shape, np.uint16)
        )
        peaks = np.zeros(20 if k % 2 else 3, PEAK)
        peaks["ss"], peaks["fs"], peaks["max"] = rng.uniform(10, 100, len(peaks)), rng.uniform(10, 200, len(peaks)), 500
        feed.event(Event(frame, file="run.cxi", name=f"//{k}", photon_energy_eV=9500.0), peaks, bool(k % 2))


def get(
    url: str, path: str = "/", *, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a request."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def overview(url: str) -> dict[str, object]:
    status, _, body = get(url, "/api/state.json")
    assert status == 200
    return json.loads(body)


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)


def seen(feed: Feed) -> int:
    """Events that the monitor knows of; -1 where it does not answer."""
    try:
        return overview(feed.url)["counts"]["events"]  # type: ignore[index]
    except OSError:
        return -1


# Messages


def test_messages_arrive_as_they_were_sent() -> None:
    ours, its = socket.socketpair()
    with ours, its:
        arrays = {"a": np.arange(5.0), "peaks": np.ones(3, PEAK), "empty": np.zeros((0, 2), np.int32)}
        wire.send(ours, "batch", {"x": [1, None]}, arrays)
        kind, header, got = wire.receive(its)
        assert (kind, header) == ("batch", {"x": [1, None]})
        for name, array in arrays.items():
            np.testing.assert_array_equal(got[name], array)
            assert got[name].dtype == array.dtype
        ours.close()
        with pytest.raises(EOFError):
            wire.receive(its)


@pytest.mark.parametrize(
    ("head", "text", "problem"),
    [
        (b"JUNK" + bytes(12), b"", "no message"),
        (b"PKM1" + (2**31).to_bytes(4, "little") + bytes(8), b"", "no message"),
        (b"PKM1" + (64).to_bytes(4, "little") + (2**40).to_bytes(8, "little"), b"", "no message"),
        (None, {"arrays": [["a", "<f8", [1000]]], "kind": "x"}, "larger than the message"),
        (None, {"arrays": [["a", "<f8", [-1]]], "kind": "x"}, "larger than the message"),
        (None, {"arrays": [["a", "|O", [1]]], "kind": "x"}, "array of |O"),
    ],
)
def test_messages_that_lie_are_refused(head: bytes | None, text: object, problem: str) -> None:
    ours, its = socket.socketpair()
    with ours, its:
        if head is None:
            content = json.dumps(text).encode()
            head, text = b"PKM1" + len(content).to_bytes(4, "little") + bytes(8), content
        ours.sendall(head + text)  # type: ignore[operator]
        with pytest.raises(ValueError, match=problem):
            wire.receive(its)


# Addresses


def test_addresses() -> None:
    assert parse_address("") == Address("127.0.0.1", None)
    assert parse_address("8470") == Address("127.0.0.1", 8470)
    assert parse_address("0.0.0.0:80") == Address("0.0.0.0", 80)
    assert parse_address("[::1]:80") == Address("::1", 80)
    for bad in ("host", "host:", ":80", "1:99999", "a:b", "-1", "12 "):
        with pytest.raises(ValueError, match="HOST"):
            parse_address(bad)
    assert [is_loopback(host) for host in ("localhost", "127.0.0.9", "::1", "0.0.0.0", "evil.example", "127.0.0.1.evil")] == [True, True, True, False, False, False]  # fmt: skip
    assert make_token(Address("127.0.0.1")) == ""
    assert len(make_token(Address("0.0.0.0"))) > 20


def test_a_port_that_is_taken_is_said_and_the_default_steps_on() -> None:
    with listen(Address(port=0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}: .*another port"):
            listen(Address(port=port))
    with listen(Address()) as one, listen(Address()) as two:
        assert one.getsockname()[1] != two.getsockname()[1]
        assert url_of(one, Address(), "").startswith("http://127.0.0.1:84")


# The server


def test_a_run_is_shown_while_it_lasts(feed: Feed, small_detector: Detector) -> None:
    show_events(feed, small_detector, 400)
    feed.unusable("run.cxi //7", "no good pixel")
    feed.state({"gain": 10.0, "limited_by": "reading", "none": float("nan")})
    feed.indexed(Chunk("//1", "f", 20, "xgandalf", (Crystal(CELL, det_shift_mm=(0.1, 0.2)),)))
    feed.indexed(Chunk("//3", "f", 20))
    wait_for(lambda: seen(feed) == 400)
    now = overview(feed.url)
    counts = now["counts"]
    assert (counts["hits"], counts["unusable"], counts["chunks"], counts["indexed"]) == (200, 1, 2, 1)  # type: ignore[index]
    assert now["numbers"] == {"gain": 10.0, "limited_by": "reading"}
    assert (now["title"], now["photon_energy_eV"], now["running"]) == ("a <run> & more", 9500.0, True)
    assert now["last_unusable"] == "run.cxi //7: no good pixel"
    wait_for(lambda: overview(feed.url)["pictures"]["powder_misses"] > 0)  # type: ignore[index]
    for name in (
        "series-whole",
        "series-recent",
        "histograms",
        "radial",
        "hit",
        "powder_hits",
        "powder_misses",
        "powder_peaks",
    ):
        status, headers, body = get(feed.url, f"/api/part/{name}")
        assert (status, headers["content-type"]) == (200, "application/json"), name
        assert json.loads(body) is not None
    _, headers, body = get(feed.url, "/metrics")
    lines = body.decode().splitlines()
    assert "peakrt_hits_total 200" in lines
    assert "peakrt_run_gain 10" in lines
    assert all(line.startswith(("#", "peakrt_")) for line in lines)


def test_a_page_fetches_nothing_from_elsewhere(quiet: Feed) -> None:
    status, headers, body = get(quiet.url)
    assert status == 200
    text = body.decode()
    assert "a &lt;run&gt; &amp; more" in text
    assert "default-src 'none'" in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    check_no_address(text)


class Addresses(HTMLParser):
    """Everything in a page that a browser might fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]


def check_no_address(text: str) -> None:
    parser = Addresses()
    parser.feed(text)
    assert set(parser.found) <= {"data:,", "report.html"}
    text = text.replace("https://github.com/leeoniya/uPlot", "")  # in a comment: who made it
    for scheme in ("http:", "https:", "//cdn", "url(", "@import"):
        assert scheme not in text, scheme


def test_only_looking_is_allowed(quiet: Feed) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE"):
        for path in ("/", "/api/state.json", "/events"):
            assert get(quiet.url, path, method=method)[0] == 405, (method, path)


@pytest.mark.parametrize(
    "path",
    [
        "/api/part/nothing", "/api/part/../../etc/passwd", "/api/part/%2e%2e%2fsecret", "/..%2f..%2fetc/passwd", "//etc/passwd",
        "/api/part/" + "x" * 4000, "/page/app.js", "/api/part/hit%00", "/index.html",
    ],
)  # fmt: skip
def test_hostile_paths_lead_nowhere(quiet: Feed, path: str) -> None:
    status, _, body = get(quiet.url, path)
    assert status == 404
    assert b"root:" not in body


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8470", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_a_name_that_was_rebound_to_this_machine_is_refused(quiet: Feed, host: str) -> None:
    status, _, body = get(quiet.url, "/api/state.json", headers={"Host": host})
    assert status == 403
    assert b"open the monitor as localhost" in body


@pytest.mark.parametrize("host", ["localhost", "localhost:9999", "127.0.0.1:1", "[::1]:8470", "[::1]"])
def test_this_machine_is_let_in_by_its_own_names(quiet: Feed, host: str) -> None:
    assert get(quiet.url, "/api/state.json", headers={"Host": host})[0] == 200


def test_from_elsewhere_the_token_is_needed(small_detector: Detector) -> None:
    feed = open_monitor("0.0.0.0:0", small_detector)
    try:
        port, query = urlsplit(feed.url).port, urlsplit(feed.url).query
        url = f"http://127.0.0.1:{port}/"
        token = query.removeprefix("token=")
        assert len(token) > 20
        for path in ("/", "/events", "/api/state.json", "/metrics", "/report.html", "/api/part/hit", "/nothing"):
            for wrong in ("", "?token=", "?token=wrong", f"?token={token}x", f"?Token={token}", "?" + "&" * 5000):
                assert get(url, path + wrong)[0] == 403, (path, wrong)
        assert get(url, f"/api/state.json?token={token}", headers={"Host": "anything.example"})[0] == 200
        assert get(url, "/metrics", headers={"Authorization": f"Bearer {token}"})[0] == 200
    finally:
        feed.close()


class Follower:
    """A browser that follows the events of a monitor."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        self._connection.request("GET", "/events", headers={"Accept": "text/event-stream"})
        self.answer = self._connection.getresponse()

    def next(self) -> dict[str, object] | None:
        """The next state; None at the end."""
        while line := self.answer.readline():
            if line.startswith(b"data: "):
                return json.loads(line[6:])
        self.answer.close()
        self._connection.close()
        return None


def test_browsers_are_told_until_the_run_is_over(feed: Feed, small_detector: Detector) -> None:
    followers = [Follower(feed.url) for _ in range(10)]
    assert followers[0].answer.getheader("content-type").startswith("text/event-stream")  # type: ignore[union-attr]
    show_events(feed, small_detector, 50)
    for follower in followers:
        while (state := follower.next()) is not None and state["counts"]["events"] < 50:  # type: ignore[index]
            pass
        assert state is not None
        assert state["running"]
    feed.close()
    for follower in followers:
        states = []
        while (state := follower.next()) is not None:
            states.append(state)
        assert not states[-1]["running"]
        assert states[-1]["counts"]["events"] == 50  # type: ignore[index]


# What the run suffers


def test_a_monitor_that_is_killed_is_started_again_and_knows_what_was(
    small_detector: Detector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feed_module, "MOST_RESTARTS", 2)
    monkeypatch.setattr(feed_module, "SNAPSHOT_s", 0.1)
    feed = open_monitor("0", small_detector)
    show_events(feed, small_detector, 100)
    wait_for(lambda: seen(feed) == 100)
    wait_for(lambda: os.fstat(feed._memory.fileno()).st_size > 0)
    time.sleep(1.5)  # two batches, each with a snapshot
    with caplog.at_level(logging.WARNING, "peakrt"):
        for n in (1, 2):
            assert feed._child is not None
            os.kill(feed._child.pid, signal.SIGKILL)
            show_events(feed, small_detector, 10, first=100 * n)
            wait_for(lambda n=n: feed.restarts == n and seen(feed) >= 100)  # type: ignore[misc]
        assert "started again" in caplog.text
        assert feed._child is not None
        os.kill(feed._child.pid, signal.SIGKILL)
        wait_for(lambda: feed._given_up)
        assert "goes on without it" in caplog.text
    show_events(feed, small_detector, 10)
    assert feed.unseen >= 10
    feed.close()


def test_a_monitor_that_stands_still_costs_the_run_nothing(
    feed: Feed, small_detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "MOST_EVENTS", 500)
    show_events(feed, small_detector, 10)
    wait_for(lambda: seen(feed) == 10)
    assert feed._child is not None
    os.kill(feed._child.pid, signal.SIGSTOP)
    try:
        frame, peaks = np.zeros((2, 2048, 2048), np.uint16), np.zeros(1000, PEAK)
        for _ in range(4000):
            feed.event(Event(frame), peaks, True)
        assert len(feed._noted) <= 500
        assert feed._peaks_noted - feed._peaks_told <= feed_module.MOST_PEAKS
        assert feed.unseen >= 3000
    finally:
        os.kill(feed._child.pid, signal.SIGKILL)


def test_a_stopped_monitor_is_ended_at_the_end_of_the_run(
    small_detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "END_s", 1.0)
    feed = open_monitor("0", small_detector)
    child = feed._child
    assert child is not None
    os.kill(child.pid, signal.SIGSTOP)
    feed.close()
    assert child.returncode == -signal.SIGKILL
    feed.close()  # a second time does nothing
    feed.event(Event(np.zeros(small_detector.shape)), np.zeros(0, PEAK), False)


def test_the_monitor_ends_with_a_run_that_was_killed(small_detector: Detector) -> None:
    code = (
        "import sys, time; from peakrt.monitor.feed import open_monitor; from peakrt_geometry import load_detector\n"
        "feed = open_monitor('0', load_detector('jungfrau1m')); print(feed.url, feed._child.pid, flush=True); time.sleep(100)"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    url, child = run.stdout.readline().split()
    wait_for(lambda: alive(url))
    run.kill()
    run.wait()
    run.stdout.close()
    wait_for(lambda: has_ended(child))


def has_ended(pid: str) -> bool:
    """No process any more, or one that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return True


def alive(url: str) -> bool:
    try:
        return get(url, "/api/state.json")[0] == 200
    except OSError:
        return False


# The command line


def test_find_shows_its_run(run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.cxi"
    arguments = ["find", str(run_file), "-g", str(run_file.with_suffix(".geom")), "-o", str(out), "--engine", "cpu"]
    assert main([*arguments, "--monitor", "127.0.0.1:0"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("monitor:")]
    assert len(lines) == 1
    assert not alive(lines[0].removeprefix("monitor: "))
    without = tmp_path / "without.cxi"
    assert main([*arguments[:-3], str(without), "--engine", "cpu"]) == 0
    import h5py

    with h5py.File(out) as one, h5py.File(without) as two:
        np.testing.assert_array_equal(one["/entry_1/result_1/peakSNR"], two["/entry_1/result_1/peakSNR"])


def test_an_address_that_is_none_is_refused_before_the_run(
    run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.cxi"
    arguments = ["find", str(run_file), "-g", str(run_file.with_suffix(".geom")), "-o", str(out), "--monitor", "here"]
    assert main(arguments) == 1
    assert "[HOST:]PORT" in capsys.readouterr().err
    assert not out.exists()


# A real browser

SHOWN = "[...document.querySelectorAll('section:not([hidden])')].map((section) => section.id)"


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_draws_the_run_to_its_end(feed: Feed, small_detector: Detector) -> None:
    show_events(feed, small_detector, 300)
    feed.state({"latency_p50_ms": 5.0, "latency_p99_ms": 9.0})
    with Browser() as browser:
        browser.open(feed.url)
        browser.wait_for("document.getElementById('numbers').textContent.includes('50 %')")
        browser.wait_for(
            f"['rates', 'hit', 'powder', 'peaks-a-frame', 'peakogram', 'table'].every((id) => {SHOWN}.includes(id))"
        )
        assert browser.ask("document.getElementById('title').textContent") == "a <run> & more"
        assert browser.ask("document.getElementsByTagName('run').length") == 0
        # The newest hit is drawn: its canvas has bright and dark pixels and circles
        colours = "new Set(new Uint32Array(document.querySelector('#hit canvas').getContext('2d').getImageData(0, 0, 400, 400).data.buffer)).size"
        browser.wait_for(f"{colours} > 50")
        browser.ask("document.querySelector('[data-kind=powder_peaks]').click()")
        browser.wait_for("document.querySelector('#powder small').textContent.startsWith('peaks of')")
        browser.ask("document.querySelector('[data-scope=recent]').click()")
        show_events(feed, small_detector, 100, first=300)
        feed.state({"latency_p50_ms": 6.0, "latency_p99_ms": 19.0})
        browser.wait_for("document.getElementById('numbers').textContent.includes('400')")
        closing = threading.Thread(target=feed.close)
        closing.start()
        browser.wait_for("document.getElementById('connection').textContent.startsWith('the run is over')")
        closing.join()
        assert browser.complaints == [] or all("ERR_" in line for line in browser.complaints), browser.complaints
        assert {request.split(":")[0] for request in browser.requests} <= {"http", "data"}
        assert all(request.startswith((feed.url, "data:")) for request in browser.requests)
