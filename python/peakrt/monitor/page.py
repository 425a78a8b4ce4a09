"""The page: one file with its style, its program and uPlot in it, for the live page as for the report."""

from __future__ import annotations

import html
import json
from functools import lru_cache
from importlib.resources import files
from typing import Any


@lru_cache(maxsize=1)
def _parts() -> dict[str, str]:
    folder = files(__package__) / "page"
    vendor = folder / "vendor"
    licence = f"/*\n{(vendor / 'LICENSE-uPlot.txt').read_text('utf-8')}*/\n"
    return {
        "FRAME": (folder / "index.html").read_text("utf-8"),
        "STYLE": (folder / "style.css").read_text("utf-8"),
        "APP": (folder / "app.js").read_text("utf-8"),
        "UPLOT": licence + (vendor / "uPlot.iife.min.js").read_text("utf-8"),
        "UPLOT_STYLE": (vendor / "uPlot.min.css").read_text("utf-8"),
    }


def build_page(title: str, data: dict[str, Any] | None = None, *, nonce: str = "") -> str:
    """The page as HTML.

    data : all parts by name, for a report, which asks nobody; None for the page that a monitor keeps up to date
    nonce : of the server's content policy; without one the page itself forbids to fetch anything
    """
    policy = (
        ""
        if nonce
        else "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline'; "
        "style-src 'unsafe-inline'; img-src data:\">"
    )
    # "<" would end the script that the data stand in
    inlined = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    filled = {
        **_parts(),
        "TITLE": html.escape(title or "PeakRT"),
        "POLICY": policy,
        "NONCE": html.escape(nonce),
        "DATA": inlined,
    }
    pieces = filled["FRAME"].split("@@")  # text and names in turn
    return "".join(filled[piece] if odd % 2 else piece for odd, piece in enumerate(pieces))
