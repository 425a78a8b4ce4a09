"""How to install what PeakRT's base installation leaves out."""

from __future__ import annotations

import importlib


def to_install(extra: str) -> str:
    """Command that installs an extra of pyproject.toml, for the end of an error message."""
    return f"pip install '.[{extra}]' in PeakRT's source folder"


def need(what: str, extra: str, *modules: str) -> None:
    """Raise ImportError, naming what needs which modules and how to get them, unless all can be imported."""
    missing = []
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError:
            missing.append(module)
    if missing:
        raise ImportError(f"{what} needs {' and '.join(missing)}: {to_install(extra)}")
