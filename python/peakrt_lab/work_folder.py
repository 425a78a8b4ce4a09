"""Folders of work that can be stopped: whose they are, and the commit that is at work."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from peakrt.cxi.outputs import whole_file


def claim(folder: Path, config: dict[str, Any], *, what: str = "training", name: str = "config.json") -> None:
    """Note a configuration in a work folder, or check that it is the one noted. Raises ValueError if it is another."""
    noted, now = folder / name, json.dumps(config, indent=1)
    if noted.exists():
        if noted.read_text(encoding="utf-8") != now:
            raise ValueError(f"{folder} holds {what} of another configuration: remove it or choose another folder")
        return
    write_text(noted, now)


def write_text(path: Path, text: str) -> None:
    """Write a text file that is there whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    with whole_file(path) as started:
        started.write_bytes(content)


def commit() -> str:
    """The commit that this code is of, for provenance."""
    done = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
