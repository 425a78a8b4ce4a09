"""Images a second from file to file, in the form of Table 2 of the PeakNet pipeline's paper (Wang et al. 2025).

    python -m benchmarks.table2 FOLDER [-n 64] [--networks huge tiny atto] [--side 1920]

Every row reads images of 1920 x 1920 pixels from a file, finds their peaks and writes hits with their images and peaks into another:
the finders of PeakRT; the networks of the paper (ConvNeXt V2 with the paper's pyramid and head, random weights, which cost what trained
ones do), whose classes are labelled and measured as PeakRT's are; and OM's peakfinder8, which its Cheetah layer calls for each image, with PeakRT
reading and writing for it in one process. Set-up is outside the time. The networks run on the GPU in half precision where torch has one, else on the CPU; with a
--side below 1920 they are given the middle of the image and the time is multiplied by the share of the pixels.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from peakrt import CandidateConfig, PeakFinder, Peakfinder8Config, _native
from peakrt.config import Config, HitConfig, OutputConfig, SegmentationConfig
from peakrt.cxi.writer import CxiWriter
from peakrt.finders.components import label, measure
from peakrt.peaks import PEAK, PeakArray
from peakrt.pipeline import find_run
from peakrt.sources import Source, open_source
from peakrt_geometry import Detector, load_detector, read_geom
from peakrt_lab.peaknet2025 import PeakNet2025, standardise
from peakrt_lab.simulate import RESPONSES, Scene, Simulator
from peakrt_lab.truth import write_run
from tests import peers

DETECTOR = "rayonix_mx170"
#: What the paper gives for 40 L40S (networks) and 32 cores of an EPYC (Cheetah), images a second.
PAPER = {"huge": 107, "tiny": 128, "atto": 183, "Cheetah": 128}


def simulate(path: Path, events: int) -> None:
    """A run of which half are hits, unless it is there."""
    if path.exists():
        return
    scene = Scene(hit_fraction=0.5, photons=(1000.0, 10000.0))
    simulator = Simulator(
        load_detector(DETECTOR), scene, RESPONSES[DETECTOR], cell=(79.0, 79.0, 38.0, 90.0, 90.0, 90.0), seed=2
    )  # fmt: skip
    write_run(path, simulator, (simulator.event(number) for number in range(events)))


def finder_rate(source: Source, config: Config, out: Path, threads: int) -> tuple[float, int]:
    """Images a second of a finder of PeakRT from file to file, and the hits."""
    finder = PeakFinder(config, geometry=source.detector)
    event = next(iter(source.events()))
    finder(event.frame, event.mask)  # plans are made once
    with CxiWriter(out, source.detector, hits=HitConfig(), output=OutputConfig(), overwrite=True) as writer:
        begin = time.perf_counter()
        summary = find_run(source, finder, writer, threads=threads)
    return summary.events / (time.perf_counter() - begin), summary.hits


class Network:
    """A network of the paper, from a frame to a table of peaks."""

    def __init__(self, backbone: str, side: int) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.kind = torch.float16 if self.device == "cuda" else torch.float32
        self.network = PeakNet2025(backbone).eval().to(self.device, self.kind)
        self.side = side

    @property
    def millions(self) -> float:
        """Parameters."""
        return sum(p.numel() for p in self.network.parameters()) / 1e6

    def __call__(self, frame: np.ndarray) -> PeakArray:
        """Peaks: the most likely class of each pixel, labelled and measured. Random weights call anything a peak."""
        low = [(n - self.side) // 2 for n in frame.shape[1:]]
        image = np.ascontiguousarray(frame[:, low[0] : low[0] + self.side, low[1] : low[1] + self.side], np.float32)
        with torch.inference_mode():
            x = standardise(torch.from_numpy(image)[None].to(self.device)).to(self.kind)
            classes = self.network(x).argmax(1).cpu().numpy()
        # A hundred pixels, as a trained one finds: the labelling of noise is not what is measured
        found = np.zeros(classes.shape, bool)
        found.reshape(-1)[:: max(1, found.size // 100)] = True
        labels, n = label(found)
        return measure(image, labels, n, background=0.0, variance=1.0)


def rate_of(
    source: Source, find: Callable[[np.ndarray], PeakArray], out: Path, images: int, share: float = 1.0
) -> float:
    """Images a second of a function that finds, from file to file, one after another; share : of an image that it is given."""
    events = iter(source.events())
    find(next(iter(source.events())).frame)
    good = source.detector.mask
    begin, finding = time.perf_counter(), 0.0
    with CxiWriter(out, source.detector, hits=HitConfig(), output=OutputConfig(), overwrite=True) as writer:
        for number in range(images):
            event = next(events)
            mark = time.perf_counter()
            peaks = find(event.frame)
            finding += time.perf_counter() - mark
            writer.append(event, peaks, number, good)
    spent = time.perf_counter() - begin
    return images / (spent + finding * (1 / share - 1))


class Cheetah:
    """OM's compiled peakfinder8, which its Cheetah layer calls, under the name and contract of a finder's function."""

    def __init__(self, detector: Detector) -> None:
        self._mask, self._radius = detector.mask[0], detector.radius[0].astype(np.float32)
        self._options = {
            **{name: getattr(Peakfinder8Config(), name) for name in ("min_snr", "min_pixels", "max_pixels", "background_radius")},
            "adc_threshold": 2.5 * (detector.photon_gain or 1.0),
        }  # fmt: skip

    def __call__(self, frame: np.ndarray) -> PeakArray:
        """Peaks of a frame (1, ss, fs)."""
        found = peers.om_peakfinder8(frame[0], self._mask, self._radius, frame.shape[1:], self._options)
        peaks = np.zeros(len(found), PEAK)
        for name, column in zip(("ss", "fs", "intensity", "npix", "max", "sigma", "snr"), found.T, strict=True):
            if name in (PEAK.names or ()):
                peaks[name] = column
        return peaks


def row(name: str, where: str, rate: Callable[[], float], parameters: str = "", paper: str = "") -> None:
    """Print a row."""
    found = rate()
    shown = f"{found:.2f}" if found >= 0.1 else f"{found:.4f}"
    print(f"{name:34}{parameters:>10}{where:>14}{shown:>12}{77023 / found / 3600:>14.2f}{paper:>22}", flush=True)


def main() -> None:
    """Simulate, time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", "--events", type=int, default=64, help="images [64]")
    parser.add_argument("--networks", nargs="*", choices=("huge", "tiny", "atto"), default=("huge", "tiny", "atto"))
    parser.add_argument("--side", type=int, help="of what the networks are given [1920 on a GPU, else 960]")
    parser.add_argument("--images", type=int, help="that each network is given [32 on a GPU, else 1]")
    parser.add_argument("-j", "--threads", type=int, default=os.cpu_count() or 1)
    parsed = parser.parse_args()
    parsed.folder.mkdir(exist_ok=True)
    run, out = parsed.folder / "run.cxi", parsed.folder / "out.cxi"
    simulate(run, parsed.events)
    source = open_source([str(run)], read_geom(run.with_suffix(".geom")))
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    torch.set_num_threads(parsed.threads)
    print(
        f"{platform.machine()}, {parsed.threads} threads, {_native.instruction_set()}; GPU: {gpu}; {len(source)} images of 1920 x 1920"
    )
    print(f"{'':34}{'M numbers':>10}{'on':>14}{'images/s':>12}{'h for 77,023':>14}{'paper, images/s':>22}")
    cpu, on_gpu = f"{parsed.threads} cores", "1 GPU"
    gain = 1.0
    for name, config in (
        ("PeakRT candidate", CandidateConfig(gain=gain)),
        ("PeakRT segmentation (student)", SegmentationConfig(gain=gain)),
        ("PeakRT peakfinder8", Peakfinder8Config()),
    ):
        where = on_gpu if PeakFinder(config, geometry=source.detector).on_gpu() else cpu
        row(name, where, lambda config=config: finder_rate(source, config, out, parsed.threads)[0])  # type: ignore[misc]
    cheetah = Cheetah(source.detector)
    row(
        "OM's peakfinder8, of Cheetah", "1 core", lambda: rate_of(source, cheetah, out, len(source)), "", f"{PAPER['Cheetah']} on 32 cores"
    )  # fmt: skip
    for backbone in reversed(parsed.networks):
        network = Network(backbone, parsed.side or (1920 if gpu else 960))
        images = min(len(source) - 1, parsed.images or (32 if gpu else 1))
        row(
            f"2025 paper's network, {backbone}", on_gpu if gpu else cpu, lambda network=network, images=images: rate_of(source, network, out, images, (network.side / 1920) ** 2),  # type: ignore[misc]
            f"{network.millions:.1f}", f"{PAPER[backbone]} on 40 L40S",
        )  # fmt: skip
        del network


if __name__ == "__main__":
    main()
