"""``peakrt serve``: one finder for the ranks of a node, and its status."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import Any

from ..finder import ENGINES
from ..signals import STOP
from .program import add_command


def add(commands: Any) -> None:
    """Add the command and its options."""
    parser = add_command(commands, "serve", _serve, help="find for the ranks of this node; they start it themselves")
    parser.add_argument("--socket", type=Path, help="where to listen [a folder of yours alone]")
    parser.add_argument("--status", action="store_true", help="print the numbers of the server that runs, and end")
    parser.add_argument("--linger", type=float, default=5.0, metavar="s", help="stay so long without anybody [5]")
    parser.add_argument("-j", "--threads", type=int, help="frames at a time on the CPU [cores]")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="where the finders run [auto]")


def _serve(parsed: argparse.Namespace) -> int:
    from ..serve.wire import socket_path

    path = parsed.socket or socket_path()
    if parsed.status:
        return _print_status(path)
    from ..serve.server import Server

    server = Server(path, linger_s=parsed.linger, workers=parsed.threads, engine=parsed.engine)
    for number in STOP:
        signal.signal(number, lambda *_: server.stop())
    print(f"serving at {path}", flush=True)
    server.run()
    return 0


def _print_status(path: Path) -> int:
    from ..serve.remote import server_status

    now = server_status(path)
    print(f"server {now['pid']} at {path}, up {now['uptime_s']:.0f} s, {now['workers']} workers")
    print(f"clients    {now['clients']}, {now['finders']} finders, {now['refused']} refused")
    print(
        f"requests   {now['waiting']} waiting, {now['served']} served, {now['unread_bytes']} bytes of answers not read"
    )
    print(f"latency    p50 {now['p50_ms']:.2f} ms, p99 {now['p99_ms']:.2f} ms")
    print(f"restarts   {now['restarts']}, {now['resent']} requests sent again")
    print(
        f"memory     {now['memory_bytes'] >> 20} MiB, {now['mapped_bytes'] >> 20} MiB of slots; "
        f"{now['threads']} threads, {now['descriptors']} descriptors"
    )
    return 0
