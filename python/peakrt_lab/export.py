"""From a trained judge to a model file: ONNX, with all that a runtime and a reader must know in its metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from peakrt.model import KIND, VERSION, load_model
from peakrt.propose import FEATURES

from .judge import Judge

OPSET = 17


def build_onnx(judge: Judge) -> Any:
    """Graph of a judge: numbers (n, features) float32 in, scores (n,) out. Needs onnx."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    state = {name: value.detach().cpu().numpy().astype(np.float32) for name, value in judge.state_dict().items()}
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


def write_model(path: Path, judge: Judge, *, threshold: float, provenance: dict[str, Any]) -> None:
    """Write a model file; it gets its name once it is whole and can be loaded.

    threshold : least score of a peak; provenance : commit, configuration, seeds, data recipe and scores
    """
    model = build_onnx(judge)
    entry = model.metadata_props.add()
    entry.key = "peakrt"
    entry.value = json.dumps(
        {
            "kind": KIND,
            "version": VERSION,
            "features": FEATURES,
            "classes": ["not a peak", "peak"],
            "threshold": threshold,
            "provenance": provenance,
        }
    )
    unfinished = path.with_name(path.stem + ".inprogress.onnx")
    unfinished.write_bytes(model.SerializeToString())
    load_model(str(unfinished))
    os.replace(unfinished, path)
