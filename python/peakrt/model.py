"""Model files: one .onnx whose metadata say what it is, what it eats and where it comes from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from .propose import FEATURES

#: Layout of the metadata; a runtime refuses what it does not know.
VERSION = 1
KIND = "judge"
#: More than a judge can be; read before memory is taken.
MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class Model:
    """A judge's file.

    content : the .onnx; threshold : least score of a peak; provenance : how it was trained and how well it does
    """

    name: str
    content: bytes
    threshold: float
    provenance: dict[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.content).hexdigest()


def shipped_models() -> list[str]:
    """Names of the models that come with PeakRT."""
    return sorted(
        item.name.removesuffix(".onnx") for item in files("peakrt.models").iterdir() if item.name.endswith(".onnx")
    )


def load_model(name: str) -> Model:
    """Load a shipped model by name, or a model file by path.

    Raises FileNotFoundError for neither, ValueError for a file that is no judge or of another version.
    """
    path = Path(name)
    if path.suffix == ".onnx" or path.exists():
        if not path.is_file():
            raise FileNotFoundError(f"model {name} does not exist")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"model {name} has {path.stat().st_size} bytes, a judge has at most {MAX_BYTES}")
        content = path.read_bytes()
    elif name in shipped_models():
        content = (files("peakrt.models") / f"{name}.onnx").read_bytes()
    else:
        raise FileNotFoundError(f"model {name!r} is neither a file nor one of {', '.join(shipped_models())}")
    return check_model(name, content, read_metadata(name, content))


def read_metadata(name: str, content: bytes) -> dict[str, str]:
    """Metadata of an .onnx file. Raises ValueError if it is not one."""
    # The fields of ModelProto (onnx.proto): metadata_props is number 14, an entry has key 1 and value 2.
    found: dict[str, str] = {}
    try:
        for field, value in _protobuf_fields(content):
            if field == 14 and isinstance(value, bytes):
                entry = dict(_protobuf_fields(value))
                found[bytes(entry[1]).decode()] = bytes(entry.get(2, b"")).decode()
    except (IndexError, KeyError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise ValueError(f"model {name} is not an .onnx file, or is damaged") from error
    return found


def _protobuf_fields(data: bytes) -> list[tuple[int, Any]]:
    """Fields of one message: numbers with an int (varint) or bytes (https://protobuf.dev/programming-guides/encoding)."""
    out: list[tuple[int, Any]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("varint too long")

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            out.append((key >> 3, varint()))
            continue
        size = {1: 8, 5: 4}.get(kind) or (varint() if kind == 2 else None)
        if size is None or at + size > len(data):
            raise ValueError("not a protobuf message")
        out.append((key >> 3, data[at : at + size]))
        at += size
    return out


def check_model(name: str, content: bytes, metadata: dict[str, str]) -> Model:
    """Check that this runtime gives the model what it was trained on. Raises ValueError where it does not."""
    if "peakrt" not in metadata:
        raise ValueError(f"model {name} is not one of PeakRT's: its metadata have no entry 'peakrt'")
    try:
        entry = json.loads(metadata["peakrt"])
        kind, version = entry["kind"], entry["version"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"model {name} has damaged metadata") from error
    if (kind, version) != (KIND, VERSION):
        raise ValueError(
            f"model {name} is a {kind} of version {version}; this PeakRT knows a {KIND} of version {VERSION}: "
            "update PeakRT, or take a model that fits"
        )
    if tuple(entry["features"]) != FEATURES:
        raise ValueError(
            f"model {name} was trained on other features than this PeakRT computes: take a model that fits"
        )
    return Model(name, content, float(entry["threshold"]), entry["provenance"])
