"""The targets that read files and messages. A target is called with a random number generator, and reads one input."""

from __future__ import annotations

import json
import os
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from peakrt import PEAK
from peakrt.arrays import as_mask
from peakrt.commands.options import read_mask
from peakrt.config import HitConfig, OutputConfig
from peakrt.cxi.columns import BAD_PIXELS, GAIN, N_PEAKS, PROGRESS, PROVENANCE, RESULT
from peakrt.cxi.learned_file import read_learned
from peakrt.cxi.outputs import companion_paths
from peakrt.cxi.reader import read_cxi_peaks
from peakrt.cxi.saved_peaks import SavedPeaks
from peakrt.cxi.writer import CxiWriter
from peakrt.event import Event
from peakrt.finder import PeakFinder
from peakrt.hdf5_items import find_group
from peakrt.info import describe_input
from peakrt.models import engine_cache
from peakrt.models.model_file import load_model
from peakrt.monitor.report import statistics_of
from peakrt.screening.reduced import write_reduced
from peakrt.screening.table import read_probabilities
from peakrt.sources import open_source
from peakrt_geometry import Detector
from peakrt_geometry.crystfel import format_geom, parse_geom

from ..conftest import SMALL_GEOM
from ..test_damaged_hdf5 import KINDS, put
from . import native

Target = Callable[..., None]
_NUMBERS = ["0", "-1", "1e400", "nan", "inf", "1e-300", "9999999999999999999", "2147483648", "0.5", "-0", "..", "1,5"]
_TINY_GEOM = SMALL_GEOM.replace("255", "7").replace("127", "3").replace("128", "4")


def mutate(draw: random.Random, data: bytes, tokens: tuple[bytes, ...] = ()) -> bytes:
    """Change some bytes, remove, repeat or move pieces, cut the end, or put in what a format knows."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at, n = draw.randrange(len(out) + 1), draw.choice((1, 2, 4, 8, 40))
        way = draw.randrange(7)
        if way == 0 and at < len(out):
            out[at] ^= 1 << draw.randrange(8)
        elif way == 1:
            out[at : at + n] = draw.randbytes(n)
        elif way == 2:
            del out[at : at + n]
        elif way == 3:
            out[at:at] = out[at : at + n] * draw.choice((1, 2, 200))
        elif way == 4 and tokens:
            out[at : at + draw.choice((0, n))] = draw.choice(tokens)
        elif way == 5:
            out[at : at + n] = draw.choice((b"\0", b"\xff", b"\x7f\xff", b"\n", b" ", b"9")) * n
        elif way == 6 and draw.random() < 0.2:
            del out[at:]
    return bytes(out)


def mutate_lines(draw: random.Random, text: str) -> str:
    """Change values, and swap, remove or repeat lines; then perhaps bytes."""
    lines = text.splitlines()
    for _ in range(draw.choice((1, 1, 2, 5))):
        at = draw.randrange(len(lines))
        way = draw.randrange(5)
        if way == 0:
            words = lines[at].split(" ")
            words[draw.randrange(len(words))] = draw.choice(
                (*_NUMBERS, "", "%", "x" * 300, *draw.choice(lines).split())
            )
            lines[at] = " ".join(words)
        elif way == 1:
            lines.insert(at, draw.choice(lines))
        elif way == 2 and len(lines) > 1:
            del lines[at]
        elif way == 3:
            other = draw.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines[at] = mutate(draw, lines[at].encode()).decode("latin1")
    return "\n".join(lines) + "\n"


def geometry(folder: Path) -> Target:
    texts = [SMALL_GEOM, "mask = /m\nmask_good = 0x1\nbadx/min_x = 1\nbadx/max_x = 3\nbadx/min_y = 1\nbadx/max_y = 9\n"
             "rigid_group_a = p0,p1\nflag_lessthan = 3\nadu_per_eV = .1\ncoffset = .01\n" + SMALL_GEOM]  # fmt: skip

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        text = draw.choice(texts)
        detector = parse_geom(text if harmless else mutate_lines(draw, text))
        _ = detector.asics
        parse_geom(format_geom(detector))
        if np.prod(detector.shape) < 1e6:
            assert detector.radius.shape == detector.mask.shape

    return job


def hdf5(folder: Path) -> Target:
    detector = parse_geom(
        "mask = /mask\nmask_bad = 1\n" + _TINY_GEOM.replace("9500 eV", "/energy").replace("0.1 m", "/clen")
    )
    path = folder / "a.h5"

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        with h5py.File(path, "w") as file:
            paths = draw.choice((_put_run, _put_nexus, _put_peaks))(file)
            for _ in range(0 if harmless else draw.choice((1, 1, 2, 4))):
                _spoil(draw, file, draw.choice(paths))
        kinds: list[Callable[[], Any]] = [
            lambda: list(_few(open_source([str(path)], draw.choice((None, detector))).events())),
            lambda: list(describe_input(str(path), draw.choice((None, detector)))),
            lambda: [len(peaks) for peaks in _few(iter(read_cxi_peaks(path)))],
        ]
        _all_of(kinds)

    return job


def tables(folder: Path) -> Target:
    """Files as we write them, finished and not, to two of all that read results."""
    detector, finished, begun = parse_geom(_TINY_GEOM), folder / "a.cxi", folder / "b.cxi"
    rng = np.random.default_rng(1)
    for path in (finished, begun):
        with CxiWriter(
            path, detector, hits=HitConfig(min_peaks=1, max_peaks=4), output=OutputConfig(powder="max")
        ) as writer:
            for number, frame in enumerate(rng.poisson(3, (4, *detector.shape)).astype(np.float32)):
                peaks = np.zeros(number, PEAK)
                writer.append(Event(frame, file="a.h5", name=f"//{number}"), peaks, number, detector.mask)
            writer.flush(PeakFinder(geometry=detector).learned_state())
            left = writer.unfinished.read_bytes()  # before it gets its name
    with h5py.File(finished, "r") as file:
        names: list[str] = []
        file.visit(names.append)
    whole, npy, mask = finished.read_bytes(), folder / "m.npy", np.ones(detector.shape, bool)
    reduced = folder / "reduced.cxi"
    np.save(npy, mask)
    packed = npy.read_bytes()
    begun.unlink()

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        event = Event(mask, file="a.h5", name="//2")
        resumed = draw.random() < 0.3
        path = begun.with_name("b.cxi.inprogress") if resumed else finished
        path.write_bytes(left if resumed else whole)
        for written in (begun, *companion_paths(begun)):
            written.unlink(missing_ok=True)
        if not harmless:
            with h5py.File(path, "r+") as file:
                for _ in range(draw.choice((1, 1, 2, 4))):
                    _spoil(draw, file, "/" + draw.choice(names))
        npy.write_bytes(
            packed if harmless else mutate(draw, packed, (b"'descr': '|O'", b"99999999", b"-1", b"(2**9", b"{}"))
        )
        jobs: list[Callable[[], Any]] = [
            lambda: statistics_of(path, detector=detector),
            lambda: read_learned(path).good(detector.shape),
            lambda: _look_up(path, event),
            lambda: [len(peaks) for peaks in _few(iter(read_cxi_peaks(path)))],
            lambda: read_mask(f"{path}:/{draw.choice(names)}"),
            lambda: read_probabilities(path),
            lambda: write_reduced(reduced, path, np.arange(0, 3, 2), np.zeros(2, bool), {}),
            lambda: as_mask(read_mask(str(npy)), detector.shape),
        ]
        if resumed:
            jobs.append(lambda: _resume(begun, detector))
        _all_of(jobs if harmless else draw.sample(jobs, 2))

    return job


def _look_up(path: Path, event: Event) -> None:
    with SavedPeaks(path) as saved:
        saved.all()
        saved.powders()
        row = saved.row_of(event, 2)
        if row is not None:
            saved.row(row)


def _resume(path: Path, detector: Detector) -> None:
    with CxiWriter(
        path, detector, hits=HitConfig(min_peaks=1, max_peaks=4), output=OutputConfig(powder="max"), resume=True
    ):
        pass


def _all_of(jobs: list[Callable[[], Any]]) -> None:
    """Do all, and raise the last refusal."""
    refusal: Exception | None = None
    for job in jobs:
        try:
            job()
        except (OSError, ValueError) as error:
            refusal = error
    if refusal is not None:
        raise refusal


def _few(items: Any) -> Any:
    return (item for item, _ in zip(items, range(3)))  # noqa: B905


def _put_run(file: h5py.File) -> list[str]:
    file["/entry_1/data_1/data"] = np.arange(256, dtype="u2").reshape(4, 8, 8)
    file["/mask"], file["/energy"], file["/clen"] = np.zeros((8, 8), "u1"), np.full(4, 9e3), 120.0
    for name in ("machineTime", "machineTimeNanoSeconds", "fiducial"):
        file[f"/LCLS/{name}"] = np.arange(4)
    return [
        "/entry_1/data_1/data",
        "/mask",
        "/energy",
        "/clen",
        "/LCLS/machineTime",
        "/LCLS/fiducial",
        "/LCLS",
        "/entry_1",
    ]


def _put_nexus(file: h5py.File) -> list[str]:
    numbers = {"beam_center_x": 4.0, "beam_center_y": 4.0, "x_pixel_size": 75e-6, "detector_distance": 0.1}
    for group, name in (
        ("entry", "NXentry"),
        ("entry/instrument", "NXinstrument"),
        ("entry/instrument/detector", "NXdetector"),
    ):
        file.create_group(group).attrs["NX_class"] = name
    for name, value in numbers.items():
        file[f"entry/instrument/detector/{name}"] = value
    file["entry/instrument/beam/incident_wavelength"] = 1.0
    file["entry/instrument/detector/pixel_mask"] = np.zeros((8, 8), "u4")
    file["entry/data/data_000001"] = file["entry/data/data_000002"] = np.zeros((2, 8, 8), "u2")
    found = ["entry", "entry/data", "entry/data/data_000001", "entry/data/data_000002", "entry/instrument"]
    found += [f"entry/instrument/detector/{name}" for name in (*numbers, "pixel_mask")]
    return [*found, "entry/instrument/detector", "entry/instrument/beam/incident_wavelength", "entry/instrument/beam"]


def _put_peaks(file: h5py.File) -> list[str]:
    names = [f"{RESULT}/{name}" for name in ("peakXPosRaw", "peakYPosRaw", "peakTotalIntensity", "peakSNR")]
    file[N_PEAKS] = np.array([1, 0, 3], "i4")
    file[N_PEAKS].attrs["minPeaks"] = 2
    for name in names:
        file[name] = np.zeros((3, 4), "f4")
    file[PROGRESS], file[GAIN], file[BAD_PIXELS] = 3, 1.5, np.zeros((2, 2), "i4")
    file[PROVENANCE].attrs["run"] = json.dumps({"inputs": ["a"], "options": {}, "finder": "candidate"})
    return [N_PEAKS, N_PEAKS, *names, PROGRESS, GAIN, BAD_PIXELS, PROVENANCE, RESULT]


def _spoil(draw: random.Random, file: h5py.File, path: str) -> None:
    """Put something else in the place of an item, or beside it."""
    if find_group(file, path.rpartition("/")[0] or "/") is None:
        return  # its folder was spoilt before
    way = draw.randrange(4)
    if way == 0:
        put(file, path, draw.choice(KINDS))
        return
    item = file[path] if path in file and file.get(path, getlink=True).__class__ is h5py.HardLink else None
    if way == 1 and item is not None:
        name = draw.choice(("NX_class", "units", "minPeaks", "run"))
        values: tuple[Any, ...] = (
            3,
            b"mm",
            "NXentry",
            "um",
            np.zeros(3),
            h5py.Empty("f4"),
            "[" * 9000,
            b"\xff",
            "\0",
            1e300,
        )
        item.attrs[name] = draw.choice(values)
        return
    if path in file:
        del file[path]
    shape = tuple(draw.choice((0, 1, 2, 3, 4, 8, 9)) for _ in range(draw.randrange(5)))
    kind = draw.choice(("u1", "u2", "i8", "u8", "f2", ">f4", "f8", "?", "c8", "S3", "g"))
    if way == 2:
        values = np.array(draw.choice((0, 1, 7, 255))).astype(kind)
        if values.dtype.kind in "fg" and draw.random() < 0.5:
            values = values.dtype.type(draw.choice((np.nan, np.inf, -1, 0)))
        file[path] = np.full(shape, values)
    else:
        sides = tuple(draw.choice((1, 8, 2**20, 10**12, 2**62)) for _ in range(draw.choice((1, 2, 3))))
        chunks = tuple(min(n, draw.choice((1, 8, 2**10))) for n in sides)
        try:
            file.create_dataset(path, sides, draw.choice(("u2", "f8")), chunks=chunks)
        except (ValueError, OverflowError):  # more than HDF5 itself takes
            file[path] = 1


def listing(folder: Path) -> Target:
    with h5py.File(folder / "a.h5", "w") as file:
        _put_run(file)
    detector, path = parse_geom(_TINY_GEOM), folder / "x.lst"

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        text = "a.h5 //0\na.h5 //3\n\na.h5\n"
        path.write_bytes(
            text.encode() if harmless else mutate(draw, text.encode(), (b"//", b"//9", b"..", b"a.h5", b"/", b"%"))
        )
        list(_few(open_source([str(path)], detector).events()))

    return job


def image(folder: Path) -> Target:
    import fabio

    from peakrt.sources.images import image_detector, read_image

    frame, seeds = np.arange(64, dtype=np.int32).reshape(8, 8), {}
    for suffix, kind in (
        ("cbf", fabio.cbfimage.CbfImage),
        ("tif", fabio.tifimage.TifImage),
        ("edf", fabio.edfimage.EdfImage),
    ):
        kind(data=frame).write(str(folder / f"seed.{suffix}"))
        seeds[suffix] = (folder / f"seed.{suffix}").read_bytes()
    detector = parse_geom(_TINY_GEOM)

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        suffix = draw.choice(sorted(seeds))
        head = mutate(draw, seeds[suffix][:1200], (b"\r\n", b"-1", b"99999999", b": ", b"nan"))
        path = folder / f"a.{suffix}"
        path.write_bytes(seeds[suffix] if harmless else head + seeds[suffix][1200:])
        _all_of([lambda: read_image(path, detector), lambda: harmless or image_detector(path)])

    return job


def stream(folder: Path) -> Target:
    from peakrt_lab.stream import read_chunks

    from ..test_damaged_models import RESULT as RESULT_LINE
    from ..test_damaged_models import STREAM

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        if draw.random() < 0.7:
            path, text = folder / "a.stream", STREAM + STREAM.split("\n", 1)[1]
        else:
            path, text = folder / "a.jsonl", (json.dumps(RESULT_LINE) + "\n") * 2
        path.write_text(text if harmless else mutate_lines(draw, text), errors="surrogateescape")
        for chunk in read_chunks(path):
            assert len(chunk.ss) == len(chunk.fs) == len(chunk.intensity) == len(chunk.panel)
            assert chunk.number >= 0

    return job


def model(folder: Path) -> Target:
    from peakrt.finders.proposer import FEATURES
    from peakrt.models.engine_onnx import OnnxEngine

    content, path = load_model("default").content, folder / "m.onnx"
    start = content.index(b'{"')  # the metadata
    inputs = np.ones((3, len(FEATURES)), np.float32)

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        data = content
        if not harmless and draw.random() < 0.5:
            tokens = (b"null", b"{}", b"[]", b"-1", b'"', b"1e999", b"threshold", b"[" * 3000)
            data = content[:start] + mutate(draw, content[start : start + 2000], tokens) + content[start + 2000 :]
        elif not harmless:
            at = draw.choice((0, draw.randrange(len(content))))
            data = content[:at] + mutate(draw, content[at : at + 500]) + content[at + 500 :]
        path.write_bytes(data)
        found = load_model(str(path))
        found.weights()
        assert OnnxEngine(found)(inputs).shape == (3,)

    return job


def wire(folder: Path) -> Target:
    from peakrt.serve import wire as messages

    def encode(header: Any, payload: bytes) -> bytes:
        text = json.dumps(header).encode()
        return struct.pack("!II", len(text), len(payload)) + text + payload

    greeting = {
        "version": messages.VERSION, "ask": "finder", "finder": "candidate", "options": {"min_score": 0.5}, "geometry": None,
        "place": "", "shape": [1, 8, 8], "slots": 2, "slot_bytes": 256, "deaths": 0, "resent": 0,
    }  # fmt: skip
    known = messages.read_hello(greeting, b"")
    assert known is not None
    values: tuple[Any, ...] = (None, -1, 2**70, 1e300, True, "x", "", [], {}, [1, 2], [0, 0, 0], "<u2", float("nan"))

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        kind = draw.randrange(3)
        header = dict((greeting, {"id": 1, "slot": 0, "dtype": "<u2"}, {"id": 1, "peaks": 0})[kind])
        data = encode(header, b"")
        if not harmless and draw.random() < 0.5:
            header[draw.choice((*header, "other"))] = draw.choice(values)
            data = encode(header, draw.choice((b"", b"\0" * 8)))
        elif not harmless:
            data = mutate(draw, data, (b"[" * 3000, b"null", b"\0\0\0\xff", b"1e999", b"{}"))
        decoder = messages.Decoder(1 << 16, 1 << 16)
        for first in range(0, len(data), 7):
            decoder.feed(data[first : first + 7])
        while (message := decoder.take()) is not None:
            _all_of([lambda m=message: messages.read_hello(*m), lambda m=message: messages.read_request(*m, known),
                     lambda m=message: messages.read_answer(*m)])  # fmt: skip

    return job


def cache(folder: Path) -> Target:
    os.environ["PEAKRT_CACHE"] = str(folder / "cache")
    engine_cache.cached({"gpu": "x"}, lambda: b"engine")
    (path,) = (folder / "cache").glob("*.engine")
    content = path.read_bytes()

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        path.write_bytes(
            content if harmless else mutate(draw, content, (b"[" * 9000, b"null", b"{}", b"\n", b'"sha256"'))
        )
        for entry in engine_cache.entries():
            assert entry.built_for.items()
        assert engine_cache.cached({"gpu": "x"}, lambda: b"engine") == b"engine"

    return job


def frames(folder: Path) -> Target:
    """Messages of the streams that frames come by."""
    from ..stream_messages import MESSAGES, read

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        _, decode, message = draw.choice(MESSAGES)
        if not harmless:
            message = list(message)
            at = draw.randrange(len(message))
            tokens = (
                b"\xff" * 9,
                b"\x9b\0\0\0\1\0\0\0\0",
                b"\xdd\xff\xff\xff\xff",
                b"\xa1\x64type",
                b"\x80" * 3000,
                b"\xf9\x7e\0",
            )
            head = draw.choice((len(message[at]), 200, 1500))  # mostly where the fields are
            message[at] = mutate(draw, message[at][:head], tokens) + message[at][head:]
            if draw.random() < 0.05:
                message = draw.choice((message * 2, message[::-1], [b"", *message]))
        if not read(decode, message):
            raise ValueError("refused")

    return job


TARGETS: dict[str, Callable[[Path], Target]] = {
    "geometry": geometry, "hdf5": hdf5, "list": listing, "image": image, "stream": stream, "model": model, "wire": wire,
    "cache": cache, "frames": frames, "tables": tables, **native.TARGETS,
}  # fmt: skip


def bad_reader(folder: Path) -> Target:
    """What the fuzzer must find: of its inputs one ends the process, one never ends, and so on."""
    numbers = {random.Random(f"1 bad reader {number}").random(): number for number in range(7)}

    def job(draw: random.Random, *, harmless: bool = False) -> None:
        number, began = numbers.get(draw.random(), 0), time.process_time()
        if number == 1:
            os.abort()
        elif number == 2:
            {}["no such key"]
        elif number == 3:
            time.sleep(1000)
        elif number == 4:
            bytearray(2 << 30)
        elif number == 5:
            raise ValueError("refused")
        elif number == 6:
            while time.process_time() < began + 0.5:
                pass

    return job


#: For the fuzzer's own test.
SELF_TEST: dict[str, Callable[[Path], Target]] = {"bad reader": bad_reader}
