"""Model files: one .onnx whose metadata say what it is, what it eats and where it comes from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .propose import DENSE_INPUTS, FEATURES

#: Layout of the metadata; a runtime refuses what it does not know.
VERSION = 1
#: What each kind of model is told: numbers of a candidate, or channels of a pixel.
INPUTS = {"judge": FEATURES, "dense": DENSE_INPUTS}
#: More than a model can be; read before memory is taken.
MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class Model:
    """A network's file.

    kind : judge (of candidates) or dense (of pixels); precision : fp32, fp16 or int8 (Q/DQ)
    layers : of a dense network, kernel, stride, dilation and padding of each convolution
    content : the .onnx; threshold : least score of a peak; provenance : how it was trained and how well it does
    threshold_in_hits : of a judge, least score of a peak in a frame where ten reach threshold
    """

    name: str
    content: bytes
    threshold: float
    provenance: dict[str, Any]
    kind: str = "judge"
    precision: str = "fp32"
    layers: tuple[tuple[int, int, int, int], ...] = ()
    threshold_in_hits: float | None = None

    def least_scores(self, given: float | None) -> tuple[float, float]:
        """Least score of a peak, and that in hits; a number that the user gives is both."""
        usual = self.threshold if given is None else given
        return usual, usual if given is not None or self.threshold_in_hits is None else self.threshold_in_hits

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.content).hexdigest()

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """The float32 constants of the graph by name. Raises ValueError for a damaged file."""
        return read_weights(self.name, self.content)


def shipped_models() -> list[str]:
    """Names of the models that come with PeakRT."""
    return sorted(
        item.name.removesuffix(".onnx") for item in files("peakrt.models").iterdir() if item.name.endswith(".onnx")
    )


def load_model(name: str, kind: str | None = "judge") -> Model:
    """Load a shipped model by name, or a model file by path. kind : in INPUTS, None for any.

    Raises FileNotFoundError for neither, ValueError for a file of another kind or version, or that is no model.
    """
    path = Path(name)
    if name in shipped_models():  # whatever lies in the working folder
        content = (files("peakrt.models") / f"{name}.onnx").read_bytes()
    elif path.is_file():
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"model {name} has {path.stat().st_size} bytes, a model has at most {MAX_BYTES}")
        content = path.read_bytes()
    elif path.suffix == ".onnx":
        raise FileNotFoundError(f"model {name} does not exist")
    else:
        raise FileNotFoundError(f"model {name!r} is neither a file nor one of {', '.join(shipped_models())}")
    return check_model(name, content, read_metadata(name, content), kind)


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


def read_weights(name: str, content: bytes) -> dict[str, npt.NDArray[np.float32]]:
    """The float32 constants of an .onnx file's graph. Raises ValueError if it is damaged."""
    # onnx.proto: ModelProto.graph is number 7, GraphProto.initializer 5; of a TensorProto dims are 1, data_type (1 is
    # float) 2, name 8, raw_data 9.
    found: dict[str, npt.NDArray[np.float32]] = {}
    try:
        graph = next(value for field, value in _protobuf_fields(content) if field == 7)
        for tensor in (_protobuf_fields(value) for field, value in _protobuf_fields(graph) if field == 5):
            entry = dict(tensor)
            if entry[2] == 1 and 9 in entry:
                shape = [int(value) for field, value in tensor if field == 1 and isinstance(value, int)]
                for packed in (value for field, value in tensor if field == 1 and isinstance(value, bytes)):
                    shape += _varints(packed)
                found[bytes(entry[8]).decode()] = np.frombuffer(entry[9], "<f4").reshape(shape)
    except (StopIteration, IndexError, KeyError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise ValueError(f"model {name} is not an .onnx file, or is damaged") from error
    return found


def _protobuf_fields(data: bytes) -> list[tuple[int, Any]]:
    """Fields of one message: numbers with an int (varint) or bytes (https://protobuf.dev/programming-guides/encoding)."""
    out: list[tuple[int, Any]] = []
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            out.append((key >> 3, value))
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, at = _varint(data, at)
        if size is None or at + size > len(data):
            raise ValueError("not a protobuf message")
        out.append((key >> 3, data[at : at + size]))
        at += size
    return out


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """One varint and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("varint too long")


def _varints(data: bytes) -> list[int]:
    out, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        out.append(value)
    return out


def check_model(name: str, content: bytes, metadata: dict[str, str], kind: str | None = "judge") -> Model:
    """Check that this runtime gives the model what it was trained on. Raises ValueError where it does not."""
    if "peakrt" not in metadata:
        raise ValueError(f"model {name} is not one of PeakRT's: its metadata have no entry 'peakrt'")
    try:
        entry = json.loads(metadata["peakrt"])
        found, version = str(entry["kind"]), entry["version"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"model {name} has damaged metadata") from error
    if kind is None:
        kind = found if found in INPUTS else "model"
    if (found, version) != (kind, VERSION):
        raise ValueError(
            f"model {name} is a {found} of version {version}; wanted is a {kind} of version {VERSION}: "
            "update PeakRT, or take a model that fits"
        )
    if tuple(entry["features"]) != INPUTS[kind]:
        raise ValueError(
            f"model {name} was trained on other features than this PeakRT computes: take a model that fits"
        )
    threshold, precision = float(entry["threshold"]), str(entry.get("precision", "fp32"))
    layers = tuple((int(k), int(s), int(d), int(p)) for k, s, d, p in entry.get("layers", ()))
    in_hits = None if entry.get("threshold_in_hits") is None else float(entry["threshold_in_hits"])
    return Model(name, content, threshold, entry["provenance"], kind, precision, layers, in_hits)
