"""From a trained network to a model file: ONNX, with all that a runtime and a reader must know in its metadata."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from peakrt.finders.proposer import FEATURES, FRAME_INPUTS, SEGMENTATION_CHANNELS
from peakrt.models.model_file import INPUTS, VERSION, WORD_OF_KIND, Model, load_model

from .candidate_network import CandidateNetwork
from .segmentation_network import SegmentationStudent

OPSET = 17


def build_onnx(network: CandidateNetwork) -> Any:
    """Graph of a network: numbers (n, features) float32 in, scores (n,) out. Needs onnx."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    state = {name: value.detach().cpu().numpy().astype(np.float32) for name, value in network.state_dict().items()}
    constants = {
        "mean": state["mean"],
        "scale": state["scale"],
        "low": np.float32(-5.0),
        "high": np.float32(5.0),
        "one": np.float32(1.0),
        "sharpness": state["sharpness"],
        "bias": state["bias"],
        "columns": np.array([-1], np.int64),
    }
    for layer in ("first", "second", "last"):
        constants[f"{layer}_weight"], constants[f"{layer}_bias"] = state[f"{layer}.weight"], state[f"{layer}.bias"]
    node = helper.make_node
    nodes = [
        node("Sign", ["numbers"], ["sign"]),
        node("Abs", ["numbers"], ["size"]),
        node("Add", ["size", "one"], ["size1"]),
        node("Log", ["size1"], ["log"]),
        node("Mul", ["sign", "log"], ["compressed"]),
        node("Sub", ["compressed", "mean"], ["centred"]),
        node("Mul", ["centred", "scale"], ["scaled"]),
        node("Clip", ["scaled", "low", "high"], ["x0"]),
        node("Gemm", ["x0", "first_weight", "first_bias"], ["y1"], transB=1),
        node("Relu", ["y1"], ["x1"]),
        node("Gemm", ["x1", "second_weight", "second_bias"], ["y2"], transB=1),
        node("Relu", ["y2"], ["x2"]),
        node("Gemm", ["x2", "last_weight", "last_bias"], ["y3"], transB=1),
        node("Mul", ["y3", "sharpness"], ["sharpened"]),
        node("Add", ["sharpened", "bias"], ["logit"]),
        node("Sigmoid", ["logit"], ["column"]),
        node("Reshape", ["column", "columns"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "judge",
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["n", len(FEATURES)])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="PeakRT")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def write_model(
    path: Path,
    network: CandidateNetwork,
    *,
    threshold: float,
    threshold_in_hits: float | None,
    provenance: dict[str, Any],
    frame: Sequence[float] | None = None,
) -> None:
    """Write a network's model file; it gets its name once it is whole and can be loaded.

    threshold, threshold_in_hits, frame : of ``peakrt.models.model_file.Model``
    provenance : commit, configuration, seeds, data recipe and scores
    """
    entry = {
        "classes": ["not a peak", "peak"], "threshold": threshold, "threshold_in_hits": threshold_in_hits,
        "provenance": provenance, **_frame_entry(frame),
    }  # fmt: skip
    _save(path, build_onnx(network), "candidate", entry)


def _frame_entry(frame: Sequence[float] | None) -> dict[str, Any]:
    return {} if frame is None else {"frame": {"inputs": list(FRAME_INPUTS), "weights": list(frame)}}


def write_with_frame_network(
    out: Path, model: Model, frame: Sequence[float], *, threshold: float, provenance: dict[str, Any]
) -> None:
    """Write a candidate model's file anew, of any precision, with the weights of a second network.

    threshold : least score of a peak in all frames; provenance : of the second network, added to the model's as "frame"
    """
    import onnx

    entry = {
        "classes": ["not a peak", "peak"], "threshold": threshold, "threshold_in_hits": None,
        "provenance": {**model.provenance, "frame": provenance}, **_frame_entry(frame),
    }  # fmt: skip
    _save(out, onnx.load_model_from_string(model.content), "candidate", entry, model.precision)


def write_quantised(path: Path, numbers: npt.NDArray[np.float32]) -> Path:
    """Write NAME-int8.onnx beside a network's NAME.onnx; returns its path.

    numbers : (n, features) of candidates on which the ranges of int8 are measured
    """
    import onnx

    plain = onnx.load(path)
    entry = json.loads(next(item.value for item in plain.metadata_props if item.key == "peakrt"))
    names = ("classes", "threshold", "threshold_in_hits", "provenance", "frame")
    kept = {name: entry[name] for name in names if name in entry}
    out = path.with_name(f"{path.stem}-int8.onnx")
    _save(out, quantise(plain, numbers), "candidate", kept, "int8")
    return out


def write_segmentation_models(
    path: Path,
    student: SegmentationStudent,
    examples: npt.NDArray[np.float32],
    *,
    threshold: float,
    provenance: dict[str, Any],
) -> dict[str, Path]:
    """Write a segmentation student in three precisions, NAME.onnx, NAME-fp16.onnx and NAME-int8.onnx; gives each one's path.

    examples : (n, channel, ss, fs) inputs on which the ranges of int8 are measured
    """
    entry = {"classes": ["background", "peak", "artifact"], "threshold": threshold, "provenance": provenance}
    convs = [*student.convs, student.head]
    entry["layers"] = [(c.kernel_size[0], c.stride[0], c.dilation[0], c.padding[0]) for c in convs]
    written = {}
    for precision in ("fp32", "fp16", "int8"):
        out = path if precision == "fp32" else path.with_name(f"{path.stem}-{precision}.onnx")
        model = build_segmentation_onnx(student, half=precision == "fp16")
        _save(out, quantise(model, examples) if precision == "int8" else model, "segmentation", entry, precision)
        written[precision] = out
    return written


def build_segmentation_onnx(student: SegmentationStudent, *, half: bool = False) -> Any:
    """Graph of a segmentation student: inputs (n, channel, ss, fs) in, probabilities (n, class, ss, fs) float32 out.

    Norms are folded into the convolutions. half : float16 throughout, the input too, as a strongly typed TensorRT wants
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    constants: dict[str, Any] = {}
    nodes, last = [], "inputs"
    for number, (conv, norm) in enumerate(student.layers()):
        fold = norm.state_dict()
        scale = fold["weight"] / torch.sqrt(fold["running_var"] + norm.eps)
        constants[f"weight{number}"] = (conv.weight.detach() * scale[:, None, None, None]).cpu().numpy()
        constants[f"bias{number}"] = (fold["bias"] - fold["running_mean"] * scale).cpu().numpy()
        edge = conv.padding[0]
        nodes.append(
            helper.make_node(
                "Conv", [last, f"weight{number}", f"bias{number}"], [f"y{number}"], kernel_shape=conv.kernel_size,
                strides=conv.stride, dilations=conv.dilation, pads=[edge] * 4,
            )
        )  # fmt: skip
        nodes.append(helper.make_node("Relu", [f"y{number}"], [f"x{number}"]))
        last = f"x{number}"
    head = student.head.state_dict()
    constants["weight_head"], constants["bias_head"] = head["weight"].cpu().numpy(), head["bias"].cpu().numpy()
    nodes += [
        helper.make_node("Conv", [last, "weight_head", "bias_head"], ["head"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("DepthToSpace", ["head"], ["logits"], blocksize=2, mode="CRD"),
        helper.make_node("Softmax", ["logits"], ["shares"], axis=1),
        helper.make_node("Cast", ["shares"], ["probabilities"], to=TensorProto.FLOAT),
    ]
    if not half:  # a cast to what it is already
        nodes[-2].output[0] = "probabilities"
        nodes.pop()
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("inputs", kind, ["n", SEGMENTATION_CHANNELS, "ss", "fs"])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3, "ss", "fs"])],
        [numpy_helper.from_array(np.asarray(value, dtype), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="PeakRT")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def quantise(model: Any, examples: npt.NDArray[np.float32]) -> Any:
    """A model with Q/DQ nodes around its convolutions, int8, symmetric, no quantised bias: as TensorRT's parser wants."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = iter(np.array_split(examples, max(1, len(examples) // 16)))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._batches, None)
            return None if batch is None else {model.graph.input[0].name: batch}

    with tempfile.TemporaryDirectory() as folder:
        plain, quantised = Path(folder) / "plain.onnx", Path(folder) / "quantised.onnx"
        onnx.save(model, plain)
        quantize_static(
            plain, quantised, Reader(), quant_format=QuantFormat.QDQ, activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["Conv", "Gemm"],
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )  # fmt: skip
        return onnx.load(quantised)


def _save(path: Path, model: Any, kind: str, entry: dict[str, Any], precision: str = "fp32") -> None:
    """Add the metadata and write the file, which gets its name once it can be loaded."""
    del model.metadata_props[:]
    note = model.metadata_props.add()
    note.key = "peakrt"
    note.value = json.dumps(
        {"kind": WORD_OF_KIND[kind], "version": VERSION, "features": INPUTS[kind], "precision": precision, **entry}
    )
    unfinished = path.with_name(path.stem + ".inprogress.onnx")
    unfinished.write_bytes(model.SerializeToString())
    load_model(str(unfinished), kind)
    os.replace(unfinished, path)
