"""Model files, engine files, streams and results that are wrong: an OSError or ValueError in one line."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peakrt import CandidateConfig, PeakFinder
from peakrt.finders.proposer import FRAME_INPUTS, FRAME_WEIGHTS, Proposer
from peakrt.models import engine_cache as cache
from peakrt.models.engine_onnx import OnnxEngine
from peakrt.models.model_file import Model, load_model, read_metadata
from peakrt_geometry import Detector
from peakrt_lab.stream import read_chunks


def with_entry(folder: Path, change: Any) -> str:
    """The shipped model with other metadata: change is given PeakRT's entry."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(load_model("default").content)
    (item,) = model.metadata_props
    entry = json.loads(item.value)
    change(entry)
    item.value = json.dumps(entry)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return str(folder / "m.onnx")


WEIGHTS = [0.5] * FRAME_WEIGHTS
ODD_WEIGHTS = (
    None, 3, [], WEIGHTS[1:], [*WEIGHTS, 0.5], ["0.5"] * FRAME_WEIGHTS, [True, *WEIGHTS[1:]],
    [float("nan"), *WEIGHTS[1:]], [float("inf"), *WEIGHTS[1:]], [1e9, *WEIGHTS[1:]], [10**400, *WEIGHTS[1:]],
)  # fmt: skip


@pytest.mark.parametrize("key", ["features", "threshold", "provenance", "kind", "version"])
def test_metadata_without_an_entry(tmp_path: Path, key: str) -> None:
    name = with_entry(tmp_path, lambda entry: entry.pop(key))
    with pytest.raises(ValueError, match="m.onnx"):
        load_model(name)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", None), ("threshold", "high"), ("threshold", [0.5]), ("threshold", float("nan")), ("threshold", True),
        ("threshold", 7.0), ("threshold_in_hits", "low"), ("features", 3), ("features", None), ("features", [[]]),
        ("provenance", []), ("precision", 16), ("layers", 3), ("layers", [[1, 2]]), ("layers", [["a", 1, 1, 1]]),
        ("layers", [[10**9, 1, 1, 1]]), ("version", [1]), ("kind", {}),
        ("frame", []), ("frame", {}), ("frame", {"inputs": [], "weights": WEIGHTS}),
        *(("frame", {"inputs": list(FRAME_INPUTS), "weights": weights}) for weights in ODD_WEIGHTS),
    ],
)  # fmt: skip
def test_metadata_with_an_odd_entry(tmp_path: Path, key: str, value: Any) -> None:
    name = with_entry(tmp_path, lambda entry: entry.update({key: value}))
    with pytest.raises(ValueError, match="m.onnx"):
        load_model(name)


def test_a_frame_network_is_read(tmp_path: Path) -> None:
    entry = {"inputs": list(FRAME_INPUTS), "weights": list(range(FRAME_WEIGHTS))}
    model = load_model(with_entry(tmp_path, lambda given: given.update({"frame": entry})))
    assert model.frame_weights is not None
    assert model.frame_weights.tolist() == list(range(FRAME_WEIGHTS))
    older = load_model(with_entry(tmp_path, lambda given: given.pop("frame", None)))
    assert older.frame_weights is None


def test_deep_metadata(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(load_model("default").content)
    model.metadata_props[0].value = "[" * 100_000
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="damaged metadata"):
        load_model(str(tmp_path / "m.onnx"))


def test_a_damaged_operator_is_refused_without_a_word_of_the_library(capfd: pytest.CaptureFixture[str]) -> None:
    model = load_model("default")
    damaged = replace(model, content=model.content.replace(b"Gemm", b"\xffemm").replace(b"MatMul", b"\xffatMul"))
    assert damaged.content != model.content
    with pytest.raises(ValueError, match="cannot be loaded"):
        OnnxEngine(damaged)
    assert capfd.readouterr() == ("", "")


def test_weights_are_those_of_onnx() -> None:
    onnx = pytest.importorskip("onnx")
    model = load_model("default")
    graph = onnx.load_from_string(model.content).graph
    expected = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer if t.data_type == 1}
    weights = model.weights()
    assert weights.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(weights[name], values)
    assert read_metadata("m", model.content) == {
        item.key: item.value for item in onnx.load_from_string(model.content).metadata_props
    }


def doctored(ending: list[tuple[str, dict[str, Any]]], constants: dict[str, Any] | None = None) -> Model:
    """The shipped judge with nodes after its scores: (operation, attributes), each with one constant if it is named so."""
    onnx = pytest.importorskip("onnx")
    shipped = load_model("default")
    model = onnx.load_from_string(shipped.content)
    graph = model.graph
    last = graph.output[0].name
    for number, (operation, attributes) in enumerate(ending):
        inputs = [last]
        for name in [name for name in (constants or {}) if name.startswith(operation)]:
            graph.initializer.append(onnx.numpy_helper.from_array(np.array((constants or {})[name]), name))
            inputs.append(name)
        last = f"ending{number}"
        graph.node.append(onnx.helper.make_node(operation, inputs, [last], **attributes))
    del graph.output[:]
    graph.output.append(onnx.helper.make_empty_tensor_value_info(last))
    return Model("doctored", model.SerializeToString(), shipped.threshold, {}, "candidate")


ENDINGS = {
    "one score fewer": ([("Slice", {})], {"Slice0": [1], "Slice1": [1 << 40]}),
    "one score": ([("ReduceMax", {"keepdims": 1})], None),
    "a scalar": ([("ReduceMax", {"keepdims": 0})], None),
    "a column": ([("Reshape", {})], {"Reshape0": [-1, 1]}),
    "twice as many": ([("Tile", {})], {"Tile0": [2]}),
    "no numbers": ([("Log", {}), ("Sqrt", {})], None),
    "text": ([("Cast", {"to": 8})], None),
}


@pytest.mark.parametrize("bad_pixels", ["keep", "learn"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_outputs_of_another_shape(
    small_detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, bad_pixels: str
) -> None:
    """Fewer scores than candidates were read beyond their end, or one was taken for all."""
    model = doctored(*ENDINGS[ending])
    finder = PeakFinder(CandidateConfig(bad_pixels=bad_pixels), geometry=small_detector)
    monkeypatch.setattr(finder, "_cpu_engine", OnnxEngine(model))
    frame = np.random.default_rng(2).poisson(3, (1, 256, 256)) * 10.0
    frame[0, 40:200:20, 60] += 2000
    with pytest.raises(ValueError, match="model doctored gives"):
        finder(frame.astype(np.float32))


@pytest.mark.parametrize("n", [0, 1, 1000])
def test_another_number_of_scores_than_candidates(n: int) -> None:
    frame = np.random.default_rng(3).poisson(5, (1, 128, 128)).astype(np.float32)
    frame[0, 20:100:20, 50] += 500
    proposer = Proposer(np.ones((1, 128, 128), bool))
    candidates = proposer.propose(frame, 1.0)
    assert candidates not in (0, n)
    with pytest.raises(ValueError, match=f"{n} scores for {candidates} candidates"):
        proposer.measure(np.ones(n, np.float32), 0.5)
    with pytest.raises(ValueError, match="one a candidate"):
        proposer.measure(np.ones((candidates, 1), np.float32), 0.5)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"PeakRT engine 1\n", b"PeakRT engine 1\n{}\n", b"PeakRT engine 1\n" + b"[" * 60_000 + b"\n",
        b"PeakRT engine 1\n\xff\xfe\n", b'PeakRT engine 1\n{"built_for": 3, "sha256": '
        b'"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}\n',
    ],
)  # fmt: skip
def test_engines_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PEAKRT_CACHE", str(folder))
    assert cache.cached({"gpu": "x"}, lambda: b"whole") == b"whole"
    (path,) = folder.glob("*.engine")
    path.write_bytes(content)
    assert cache.entries() == []
    assert cache.cached({"gpu": "x"}, lambda: b"again") == b"again"
    assert [entry.built_for for entry in cache.entries()] == [{"gpu": "x"}]


def test_a_pipe_is_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEAKRT_CACHE", str(tmp_path / "cache"))
    cache.cached({"gpu": "x"}, lambda: b"whole")
    (path,) = (tmp_path / "cache").glob("*.engine")
    path.unlink()
    os.mkfifo(path, 0o600)
    assert cache.entries() == []  # and does not wait for a writer


STREAM = """CrystFEL stream format 2.3
----- Begin chunk -----
Image filename: a.h5
Event: //3
hit = 1
indexed_by = none
Peaks from peak search
  fs/px   ss/px (1/d)/nm^-1   Intensity  Panel
 100.50  200.50       1.23      456.78   p0
End of peak list
--- Begin crystal
Cell parameters 7.9 7.9 3.8 nm, 90.0 90.0 90.0 deg
astar = +0.1 +0.0 +0.0 nm^-1
bstar = +0.0 +0.1 +0.0 nm^-1
cstar = +0.0 +0.0 +0.3 nm^-1
--- End crystal
----- End chunk -----
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("7.9 7.9 3.8 nm", "7.9 nm"),
        ("+0.1 +0.0 +0.0", "+0.1"),
        ("456.78", "much"),
        (" 100.50  200.50       1.23      456.78   p0", " 100.50  200.50"),
        ("CrystFEL stream", "Another stream"),
    ],
)
def test_streams_that_are_damaged(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "a.stream"
    path.write_text(STREAM)
    (chunk,) = read_chunks(path)
    assert (chunk.number, chunk.ss[0], len(chunk.crystals)) == (3, 200, 1)
    path.write_text(STREAM.replace(old, new, 1))
    with pytest.raises(ValueError, match="a.stream"):
        list(read_chunks(path))


RESULT: dict[str, Any] = {
    "file": "a.h5", "event": "//0", "panel": ["p0"], "ss": [1.0], "fs": [2.0], "intensity": [3.0],
    "crystal": {"reciprocal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "cell": [1, 1, 1, 90, 90, 90], "ss": [4], "fs": [5], "panel": ["p0"]},
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"ss": [1.0, 2.0]}, {"ss": [[1.0]]}, {"ss": 3}, {"ss": [10**400]}, {"panel": 3}, {"crystal": 3}, {"crystal": []},
        {"crystal": {}}, {"crystal": {**RESULT["crystal"], "ss": [1, 2]}}, {"crystal": {**RESULT["crystal"], "cell": [1]}},
    ],
)  # fmt: skip
def test_results_of_dials_that_are_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(RESULT))
    (chunk,) = read_chunks(path)
    assert len(chunk.crystals) == 1
    path.write_text(json.dumps(RESULT) + "\n" + json.dumps({**RESULT, **change}) + "\n")
    with pytest.raises(ValueError, match="a.jsonl, line 2"):
        list(read_chunks(path))
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="line 1"):
        list(read_chunks(path))
