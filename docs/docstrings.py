"""Lays out PeakRT's docstrings for the site: a line "name : what it is" becomes an item of a list."""

from __future__ import annotations

import re
from typing import Any

import griffe

#: Of one parameter or several: "mask : ..." or "file, name : ...".
ITEM = re.compile(r"^([A-Za-z_]\w*(?:, [A-Za-z_]\w*)*) : (.*)")


class Docstrings(griffe.Extension):
    """Changes the docstring of each object that griffe reads."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Lay out one docstring."""
        if obj.docstring:
            obj.docstring.value = laid_out(obj.docstring.value)


def laid_out(text: str) -> str:
    """The text with lists of items; an item goes on over indented lines, and what is not indented ends the list."""
    lines: list[str] = []
    for line in text.splitlines():
        within = bool(lines) and lines[-1].startswith(("- ", "    "))
        if item := ITEM.match(line):
            lines += [] if within or not lines else [""]
            lines.append(f"- **{item[1]}**: {item[2]}")
        elif within and line and not line.startswith(" "):
            lines += ["", line]
        else:
            lines.append(line)
    return "\n".join(lines)
