"""The monitor's web server: read-only, a page and the JSON that it draws. Needs starlette and uvicorn."""

from __future__ import annotations

import asyncio
import gzip
import hmac
import json
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from . import panels
from .address import is_loopback
from .page import build_page
from .statistics import PICTURES, RunStatistics

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PARTS = ("series-whole", "series-recent", "histograms", "radial", *PICTURES)
#: Browsers that are kept up to date at a time.
MOST_FOLLOWERS = 64
#: Seconds between two states of a part: a picture is 0.2 s of work, whatever the number of browsers.
PART_AGE_s = 2.0
EVENT_PERIOD_s = 1.0
#: A browser that is gone is noticed by what cannot be sent to it.
HEARTBEAT_s = 10.0
#: What browsers get to fetch the last state of a run that is over.
FAREWELL_s = 3.0


@dataclass
class _Made:
    """A part as it is sent. version : of what it was made of; at : monotonic seconds"""

    version: int
    at: float
    content: bytes


class Hub:
    """A run's statistics, shared by the thread that fills them and those that answer.

    ticks : changes; now : the run's time, None once it is over
    """

    def __init__(self, run: RunStatistics, now: Callable[[], float] = time.time) -> None:
        self.lock = threading.Lock()
        self.run, self._clock = run, now
        self.ticks = 0
        self.over = False
        self.followers = 0
        self._made: dict[str, _Made] = {}
        self._making = {name: threading.Lock() for name in PARTS}

    def overview(self) -> dict[str, Any]:
        """The numbers of the run and its verdict."""
        with self.lock:
            return panels.overview(self.run, now=None if self.over else self._clock())

    def part(self, name: str) -> bytes:
        """A part as gzipped JSON, at most PART_AGE_s old. Raises KeyError for an unknown name."""
        with self._making[name]:
            version = self.run.versions.get(name, self.ticks)
            made, now = self._made.get(name), time.monotonic()
            if made is None or (made.version != version and (self.over or now - made.at >= PART_AGE_s)):
                with self.lock:
                    part = _make_part(self.run, name)
                text = json.dumps(part, allow_nan=False, separators=(",", ":")).encode()
                made = self._made[name] = _Made(version, now, gzip.compress(text, 5))
            return made.content

    def everything(self) -> dict[str, Any]:
        """All parts, for a page of their own."""
        return {"overview": self.overview(), **{name: json.loads(gzip.decompress(self.part(name))) for name in PARTS}}


def _make_part(run: RunStatistics, name: str) -> dict[str, Any] | None:
    if name.startswith("series-"):
        return panels.series(run, name.removeprefix("series-"))
    if name in PICTURES:
        return panels.picture(run, name)
    return {"histograms": panels.histograms, "radial": panels.radial}[name](run)


def parts_of(run: RunStatistics) -> dict[str, Any]:
    """All parts of a run that is over."""
    return {"overview": panels.overview(run), **{name: _make_part(run, name) for name in PARTS}}


class Gate:
    """Lets through who may look: a Host of this machine on the loopback, which keeps web sites out that rebind their name
    to it; the token elsewhere. Puts the headers on that keep a browser from doing anything but showing the page.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        from starlette.responses import PlainTextResponse

        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        app = self._app if refusal is None else PlainTextResponse(refusal[1], refusal[0])
        scope["nonce"] = nonce = secrets.token_urlsafe(12)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        extra = {
            "content-security-policy": policy, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
            "cache-control": "no-store", "cross-origin-resource-policy": "same-origin",
        }  # fmt: skip

        async def send_with(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in extra.items())]
            await send(message)

        await app(scope, receive, send_with)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason for a request that is not let through."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if self._token:
            given = _token_of(headers, scope["query_string"].decode("latin-1"))
            right = hmac.compare_digest(given.encode(), self._token.encode())
            return None if right else (403, "the address needs its token: take it from the run's first lines\n")
        host = headers.get(b"host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if is_loopback(name.removeprefix("[").removesuffix("]")):
            return None
        return 403, "open the monitor as localhost or 127.0.0.1, or start it with --monitor 0.0.0.0:PORT\n"


def _token_of(headers: dict[bytes, str], query: str) -> str:
    """The token of the address, or of an Authorization header, which Prometheus sends."""
    found = parse_qs(query, max_num_fields=20).get("token", [""])[0] if query.count("&") < 20 else ""
    return found or headers.get(b"authorization", "").removeprefix("Bearer ")


def make_app(hub: Hub, token: str = "") -> ASGIApp:
    """The web application of a hub."""
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
    from starlette.routing import Route

    def page(request: Request) -> Response:
        return HTMLResponse(build_page(hub.run.setting.title, nonce=request.scope["nonce"]))

    def report(request: Request) -> Response:
        text = build_page(hub.run.setting.title, hub.everything())
        return Response(text, media_type="application/octet-stream", headers={"content-disposition": 'attachment; filename="report.html"'})  # fmt: skip

    def state(request: Request) -> Response:
        return JSONResponse(hub.overview())

    def part(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in PARTS:
            return PlainTextResponse(f"there is no part of this name; there are {', '.join(PARTS)}\n", 404)
        content, headers = hub.part(name), {"vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
        else:
            content = gzip.decompress(content)
        return Response(content, media_type="application/json", headers=headers)

    def metrics(request: Request) -> Response:
        return PlainTextResponse(as_metrics(hub.overview()), media_type="text/plain; version=0.0.4")

    async def events(request: Request) -> Response:
        if hub.followers >= MOST_FOLLOWERS:
            return PlainTextResponse(f"{MOST_FOLLOWERS} browsers are following already\n", 503)
        return StreamingResponse(_follow(hub), media_type="text/event-stream")

    routes = [
        Route("/", page), Route("/events", events), Route("/report.html", report), Route("/metrics", metrics),
        Route("/api/state.json", state), Route("/api/part/{name}", part),
    ]  # fmt: skip
    return Gate(Starlette(routes=routes), token)


async def _follow(hub: Hub) -> AsyncIterator[bytes]:
    """Server-sent events: the overview whenever it has changed, once a second at most, and a last one at the end."""
    hub.followers += 1
    try:
        seen, said = -1, time.monotonic()
        while True:
            ticks, over = hub.ticks, hub.over
            if ticks != seen or over:
                overview = await asyncio.to_thread(hub.overview)
                yield b"data: " + json.dumps(overview, allow_nan=False, separators=(",", ":")).encode() + b"\n\n"
                seen, said = ticks, time.monotonic()
            elif time.monotonic() - said > HEARTBEAT_s:
                yield b": still here\n\n"
                said = time.monotonic()
            if over:
                return
            await asyncio.sleep(EVENT_PERIOD_s)
    finally:
        hub.followers -= 1


#: Numbers of the overview that Prometheus collects: name, type and help.
_METRICS = (
    ("hit_rate", "gauge", "share of the events that are hits"),
    ("indexing_rate", "gauge", "share of the finished hits that were indexed"),
    ("events_per_s", "gauge", "events a second, of the last 20 s"),
    ("peaks_per_hit", "gauge", "mean number of peaks of a hit"),
    ("resolution_A", "gauge", "median resolution of the hits, Angstrom"),
)


def as_metrics(overview: dict[str, Any]) -> str:
    """The overview in Prometheus' text format (0.0.4)."""
    lines = []

    def add(name: str, kind: str, text: str, value: float | None) -> None:
        if value is not None:
            lines.extend(
                [f"# HELP peakrt_{name} {text}", f"# TYPE peakrt_{name} {kind}", f"peakrt_{name} {value:.10g}"]
            )

    for name, value in overview["counts"].items():
        add(f"{name}_total", "counter", f"{name} so far", value)
    for name, kind, text in _METRICS:
        add(name, kind, text, overview[name])
    for name, value in overview["numbers"].items():
        if not isinstance(value, str):
            add(f"run_{name}", "gauge", f"the run's own number {name}", value)
    add(
        "verdict",
        "gauge",
        "0 OK, 1 warnings, 2 unusable",
        ("OK", "WARNINGS", "UNUSABLE").index(overview["verdict"]["level"]),
    )
    return "\n".join(lines) + "\n"


def serve(hub: Hub, listening: socket.socket, token: str) -> None:
    """Answer at a socket until the hub's run is over and browsers had time to fetch the end of it."""
    import uvicorn

    config = uvicorn.Config(
        make_app(hub, token), log_config=None, access_log=False, server_header=False, date_header=False, lifespan="off",
        ws="none", loop="asyncio", http="h11", limit_concurrency=4 * MOST_FOLLOWERS, timeout_keep_alive=20,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)

    async def run() -> None:
        async def end() -> None:
            while not hub.over:
                await asyncio.sleep(0.1)
            until = time.monotonic() + (FAREWELL_s if hub.followers else 0.0)
            while time.monotonic() < until:
                await asyncio.sleep(0.1)
            server.should_exit = True

        ending = asyncio.create_task(end())
        await server.serve(sockets=[listening])
        await ending

    asyncio.run(run())
