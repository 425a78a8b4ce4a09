"""Model files: one .onnx whose metadata say what it is, what it eats and where it comes from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..finders.proposer import FEATURES, FRAME_INPUTS, FRAME_WEIGHTS, SEGMENTATION_INPUTS

#: Layout of the metadata; a runtime refuses what it does not know.
VERSION = 1
#: What each kind of model is told: numbers of a candidate, or channels of a pixel.
INPUTS = {"candidate": FEATURES, "segmentation": SEGMENTATION_INPUTS}
#: The words that model files have for these kinds.
KIND_OF_WORD = {"judge": "candidate", "dense": "segmentation"}
WORD_OF_KIND = {kind: word for word, kind in KIND_OF_WORD.items()}
#: Names that shipped models had before.
OLD_NAMES = {"dense": "segmentation", "dense-fp16": "segmentation-fp16", "dense-int8": "segmentation-int8"}
#: More than a model can be; read before memory is taken.
MAX_BYTES = 16 << 20
#: No weight of a network that is told a frame's counts is near it.
_MAX_WEIGHT = 1e4


@dataclass(frozen=True)
class Model:
    """A network's file.

    kind : "candidate" or "segmentation", after the finder that it is for; precision : fp32, fp16 or int8 (Q/DQ)
    layers : of a segmentation model, kernel, stride, dilation and padding of each convolution
    content : the .onnx; threshold : least score of a peak; provenance : how it was trained and how well it does
    threshold_in_hits : of a candidate model, least score of a peak in a frame where ten reach threshold
    frame : of a candidate model, the weights of the network that weighs scores by their frame (frame_network.hpp)
    """

    name: str
    content: bytes
    threshold: float
    provenance: dict[str, Any]
    kind: str = "candidate"
    precision: str = "fp32"
    layers: tuple[tuple[int, int, int, int], ...] = ()
    threshold_in_hits: float | None = None
    frame: tuple[float, ...] | None = None

    def least_scores(self, given: float | None) -> tuple[float, float]:
        """Least score of a peak, and that in hits; a number that the user gives is both."""
        usual = self.threshold if given is None else given
        return usual, usual if given is not None or self.threshold_in_hits is None else self.threshold_in_hits

    @property
    def frame_weights(self) -> npt.NDArray[np.float32] | None:
        """Weights of the network that weighs scores by their frame; None for a model that has none."""
        return None if self.frame is None else np.array(self.frame, np.float32)

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


def load_model(name: str, kind: str | None = "candidate") -> Model:
    """Load a shipped model by name, or a model file by path. kind : in INPUTS, None for any.

    Raises FileNotFoundError for neither, ValueError for a file of another kind or version, or that is no model.
    """
    path, name = Path(name), OLD_NAMES.get(name, name)
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
    try:
        return {entry.key.decode(): entry.value.decode() for entry in _parse(name, content).metadata_props}
    except UnicodeDecodeError as error:
        raise ValueError(f"model {name} is damaged: its metadata are no text") from error


def read_weights(name: str, content: bytes) -> dict[str, npt.NDArray[np.float32]]:
    """The float32 constants of an .onnx file's graph. Raises ValueError if it is damaged."""
    found: dict[str, npt.NDArray[np.float32]] = {}
    try:
        for tensor in _parse(name, content).graph.initializer:
            if tensor.data_type == _FLOAT and tensor.raw_data:
                values = np.frombuffer(tensor.raw_data, "<f4").reshape([int(n) for n in tensor.dims])
                found[tensor.name.decode()] = values
    except ValueError as error:
        raise ValueError(f"model {name} is damaged: {error}") from error
    return found


_FLOAT = 1  # onnx.proto: TensorProto.DataType.FLOAT


def _parse(name: str, content: bytes) -> Any:
    """An .onnx file as a message: metadata_props, and of the graph the constants. Raises ValueError if it is not one."""
    from google.protobuf.message import DecodeError

    message = _message_type()()
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise ValueError(f"model {name} is not an .onnx file, or is damaged") from error
    return message


@cache
def _message_type() -> Any:
    """Class of the message that an .onnx file is, with the fields that are read here (onnx.proto gives the numbers).

    ONNX Runtime tells the metadata but not the constants, which the GPU's kernels need, and only after it has made the
    network ready to run; the onnx package, which would tell both, is for training only. Text is taken as bytes, for
    nothing says yet that it is text.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    layout = {
        "Model": (("graph", 7, "Graph"), ("metadata_props", 14, "Entry")),
        "Entry": (("key", 1, bytes), ("value", 2, bytes)),
        "Graph": (("initializer", 5, "Tensor"),),
        "Tensor": (("dims", 1, int), ("data_type", 2, int), ("name", 8, bytes), ("raw_data", 9, bytes)),
    }
    kinds: dict[Any, int] = {bytes: field.TYPE_BYTES, int: field.TYPE_INT64}
    file = descriptor_pb2.FileDescriptorProto(name="peakrt/model.proto", package="peakrt.model", syntax="proto2")
    for message, members in layout.items():
        described = file.message_type.add(name=message)
        for name, number, kind in members:
            repeated = name in ("metadata_props", "initializer", "dims")
            described.field.add(
                name=name,
                number=number,
                label=field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL,
                type=kinds.get(kind, field.TYPE_MESSAGE),
                type_name=f".peakrt.model.{kind}" if isinstance(kind, str) else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("peakrt.model.Model"))


def check_model(name: str, content: bytes, metadata: dict[str, str], kind: str | None = "candidate") -> Model:
    """Check that this runtime gives the model what it was trained on. Raises ValueError where it does not."""
    if "peakrt" not in metadata:
        raise ValueError(f"model {name} is not one of PeakRT's: its metadata have no entry 'peakrt'")
    try:
        entry = json.loads(metadata["peakrt"])
        found, version = KIND_OF_WORD.get(str(entry["kind"]), str(entry["kind"])), entry["version"]
    except (json.JSONDecodeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"model {name} has damaged metadata") from error
    if kind is None:
        kind = found if found in INPUTS else "PeakRT"
    if (found, version) != (kind, VERSION):
        raise ValueError(
            f"model {name} is a {found} model of version {version}; wanted is a {kind} model of version {VERSION}: "
            "update PeakRT, or take a model that fits"
        )
    features = entry.get("features")
    if not isinstance(features, list) or tuple(features) != INPUTS[kind]:
        raise ValueError(
            f"model {name} was trained on other features than this PeakRT computes: take a model that fits"
        )
    provenance, precision = entry.get("provenance"), entry.get("precision", "fp32")
    if not isinstance(provenance, dict) or not isinstance(precision, str):
        raise ValueError(f"model {name} has damaged metadata: 'provenance' should be an object and 'precision' text")
    threshold = _probability(name, entry, "threshold")
    in_hits = None if entry.get("threshold_in_hits") is None else _probability(name, entry, "threshold_in_hits")
    frame = _frame_weights(name, entry) if kind == "candidate" else None
    return Model(name, content, threshold, provenance, kind, precision, _layers(name, entry), in_hits, frame)


def _probability(name: str, entry: dict[str, Any], key: str) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"model {name} has damaged metadata: {key!r} is {value!r:.40}, a number of 0 to 1 is expected")
    return float(value)


def _frame_weights(name: str, entry: dict[str, Any]) -> tuple[float, ...] | None:
    """Weights of the network that weighs scores by their frame; None where a model has none, as older ones."""
    frame = entry.get("frame")
    if frame is None:
        return None
    if not isinstance(frame, dict) or frame.get("inputs") != list(FRAME_INPUTS):
        raise ValueError(f"model {name} was trained on another view of frames than this PeakRT has: take one that fits")
    weights = frame.get("weights")
    if (
        not isinstance(weights, list)
        or len(weights) != FRAME_WEIGHTS
        or not all(type(w) in (int, float) and -_MAX_WEIGHT <= w <= _MAX_WEIGHT for w in weights)
    ):
        raise ValueError(
            f"model {name} has damaged metadata: 'weights' of 'frame' should list {FRAME_WEIGHTS} numbers "
            f"of at most {_MAX_WEIGHT:g}"
        )
    return tuple(map(float, weights))


def _layers(name: str, entry: dict[str, Any]) -> tuple[tuple[int, int, int, int], ...]:
    """Kernel, stride, dilation and padding of each convolution of a segmentation model."""
    layers = entry.get("layers", [])
    if not isinstance(layers, list) or not all(
        isinstance(row, list) and len(row) == 4 and all(type(n) is int and 0 <= n < 1000 for n in row) for row in layers
    ):
        raise ValueError(f"model {name} has damaged metadata: 'layers' should list four small whole numbers each")
    return tuple((k, s, d, p) for k, s, d, p in layers)
