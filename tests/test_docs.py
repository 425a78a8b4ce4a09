"""The documents say what is there: links lead somewhere, commands parse, examples run, the site builds."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest

import peakrt.cli
import peakrt_lab.cli
from peakrt.finders.registry import FINDERS
from peakrt_geometry import load_detector
from peakrt_lab.simulate import RESPONSES, Response, Scene, Simulator
from peakrt_lab.truth import write_run

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
PARSERS = {"peakrt": peakrt.cli.build_parser, "peakrt-lab": peakrt_lab.cli.build_parser}


def fences(page: Path, language: str) -> list[str]:
    """The blocks of a language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a link can point at in a page: its headings, as GitHub and mkdocs name them."""
    heads = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def commands() -> list[tuple[str, str]]:
    """Each line of a console block that calls one of our programs, with the page that it stands in."""
    found = []
    for page in PAGES:
        for block in fences(page, "console"):
            for line in re.findall(r"^\$ (.*)", block, re.MULTILINE):
                call = re.search(r"\b(peakrt(?:-lab)? .*)", line.split(" # ")[0])
                if call and not line.startswith("pip"):
                    found.append((str(page.relative_to(ROOT)), call[1]))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = page if not name else (page.parent / name).resolve()
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_parse(page: str, command: str) -> None:
    program, *arguments = shlex.split(command)
    try:
        PARSERS[program]().parse_args(arguments)
    except SystemExit as ended:
        pytest.fail(f"{page}: {command}: exit status {ended.code}")


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """The options of a parser and of all its commands."""
    found: set[str] = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                found |= options_of(command)
    return found


def test_options_named_in_the_text_exist() -> None:
    known = {option for build in PARSERS.values() for option in options_of(build())}
    known |= {"--no-deps", "--target", "--no-check-cell", "--peaks", "--indexing"}  # of pip and indexamajig
    known |= {"--zmq-input", "--zmq-request", "--data-format", "--copy-header"}
    for page in set(PAGES) - {ROOT / "docs/benchmark.md"}:  # it speaks of a program of its own
        for span in re.findall(r"`(--[a-z][^`]*)`", page.read_text(encoding="utf-8")):
            assert span.split()[0].split("=")[0] in known, f"{page.name}: {span}"


def test_every_finder_is_in_the_readme_and_in_the_guide() -> None:
    for name in FINDERS:
        assert f"| `{name}`" in (ROOT / "README.md").read_text(encoding="utf-8")
        assert re.search(rf"^## .*{name}", (ROOT / "docs/finders.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_files_named_in_the_architecture_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:python|geometry|plugin|csrc|tests|docs|benchmarks)/[\w/.]+)`", text)
    assert len(named) > 20
    for name in named:
        assert "NAME" in name or (ROOT / name).exists(), name


def test_python_of_the_readme_runs(tmp_path: Path) -> None:
    simulator = Simulator(load_detector("jungfrau1m"), Scene(hit_fraction=1.0), Response(), seed=1)
    write_run(tmp_path / "run7.cxi", simulator, (simulator.event(k) for k in range(2)))
    shutil.copy(tmp_path / "run7.geom", tmp_path / "detector.geom")
    script = next(block for block in fences(ROOT / "README.md", "python") if "PeakFinder" in block)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_the_sender_of_the_live_tutorial_is_read(tmp_path: Path) -> None:
    for module in ("zmq", "cbor2"):
        pytest.importorskip(module, reason="streams need the extra live")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    simulator = Simulator(load_detector("rayonix_mx170"), Scene(hit_fraction=1.0), RESPONSES["rayonix_mx170"], seed=1)
    write_run(tmp_path / "live.cxi", simulator, (simulator.event(k) for k in range(2)))
    command = [sys.executable, str(ROOT / "examples/live/send.py"), "live.cxi", "10", address]
    sender = subprocess.Popen(command, cwd=tmp_path)
    try:
        out = tmp_path / "peaks.cxi"
        assert (
            peakrt.cli.main(["find", address, "-g", str(tmp_path / "live.geom"), "-o", str(out), "--events", "all"])
            == 0
        )
        assert sender.wait(60) == 0
    finally:
        sender.kill()
        sender.wait()
    with h5py.File(out) as found, h5py.File(tmp_path / "live.cxi") as sent:
        np.testing.assert_array_equal(found["/entry_1/data_1/data"], sent["/entry_1/data_1/data"])


class Fetched(HTMLParser):
    """Collects what a browser fetches when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = {"script": "src", "img": "src", "iframe": "src", "link": "href"}.get(tag)
        self.addresses += [value or "" for name, value in attrs if name == wanted]


def test_the_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the site needs the extra docs")
    pytest.importorskip("mkdocstrings", reason="the site needs the extra docs")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text(encoding="utf-8"))
        assert not [address for address in parser.addresses if re.match(r"(https?:)?//", address)], page
