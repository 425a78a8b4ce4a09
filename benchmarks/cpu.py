"""CPU speed of each finder and its peers in one run: ms a frame, ratio to the peer, distance from the memory limit.

    make bench        (or: python benchmarks/cpu.py [detector ...])

Every row is the median of repeated CPU times of one thread on the same simulated frame, set-up outside; "x limit" is
how many times longer it takes than reading the frame's bytes once at this machine's measured rate. The last rows of a
detector use all cores, a frame each, and count wall time.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from peakrt import CandidateConfig, PeakFinder, Peakfinder8, Peakfinder8Config, _native, v3r3
from peakrt.arrays import GoodPixels
from peakrt.event import Event
from peakrt.masks import MOST_PLANS
from peakrt.sources import open_source
from peakrt_geometry import load_detector
from peakrt_geometry.crystfel import parse_geom
from peakrt_lab.simulate import RESPONSES, Scene, Simulator
from peakrt_lab.truth import write_run

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests import peers

DETECTORS = ("rayonix_mx170", "eiger4m", "epix10k2m", "jungfrau4m")
OPTIONS = {"min_snr": 5.0, "min_pixels": 2, "max_pixels": 100, "background_radius": 3}
V3R3 = {"rank": 3, "r0": 3.0, "dr": 2.0, "nsigm": 7.0, "npix_min": 2, "npix_max": 30, "amax_thr": 80.0, "atot_thr": 120.0, "son_min": 7.0}  # fmt: skip


def cpu_ms(call: Callable[[], object], budget_s: float = 1.5) -> tuple[float, float]:
    """Median and half the range between the quartiles of the CPU time of a call, ms."""
    call()
    times: list[float] = []
    until = time.perf_counter() + budget_s
    while len(times) < 5 or (time.perf_counter() < until and len(times) < 100):
        begin = time.process_time()
        call()
        times.append((time.process_time() - begin) * 1e3)
    low, middle, high = np.percentile(times, [25, 50, 75])
    return float(middle), float((high - low) / 2)


def memory_rate() -> float:
    """Bytes a second that one thread reads from memory."""
    block = np.ones(2**26, np.float32)
    milliseconds, _ = cpu_ms(lambda: block.max())
    return block.nbytes / milliseconds * 1e3


def row(name: str, milliseconds: float, spread: float, peer: float | None, limit_ms: float) -> None:
    ratio = "" if peer is None else f"{peer / milliseconds:8.1f}"
    print(f"  {name:<44}{milliseconds:9.2f} +-{spread:6.2f}{ratio:>9}{milliseconds / limit_ms:9.1f}")


def sample(bins: np.ndarray, good: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """At most n pixels a radius, drawn at random, as OM's fast mode does."""
    rng = np.random.default_rng(0)
    order = np.argsort(bins, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(bins))[:-1])
    chosen = [rng.permutation(part)[:n] for part in parts]
    pixels = np.concatenate(chosen).astype(np.int32)
    return pixels, bins[pixels].astype(np.int32)


def bench_detector(name: str, rate: float, masks_alone: bool) -> None:
    detector = load_detector(name)
    scene = Scene(hit_fraction=1.0, photons=(1000.0, 3000.0), jet=0, shadow=0, ice=0, salt=0)
    simulator = Simulator(
        detector, scene=scene, response=RESPONSES[name], cell=(79.0, 79.0, 38.0, 90.0, 90.0, 90.0), seed=1
    )
    n_panels, n_ss, n_fs = detector.shape
    slab = (n_panels * n_ss, n_fs)
    native = simulator.event(0).frame.reshape(slab)
    frame, good = native.astype(np.float32), simulator.good.reshape(slab)
    limit = frame.nbytes / rate * 1e3
    print(f"\n{name}: {slab[0]} x {slab[1]}; reading it once as float32 takes {limit:.2f} ms")
    print(f"  {'':<44}{'ms':>9}   {'':>6}{'ratio':>9}{'x limit':>9}")
    bench_masks(simulator, limit)
    bench_mask_files(simulator, limit)
    if masks_alone:
        return
    radius = detector.radius.reshape(slab)
    first = detector.asics[0]
    asic = (int(first[2] - first[1]), int(first[4] - first[3]))
    tiles = np.array(
        [(0, s, s + asic[0], f, f + asic[1]) for s in range(0, slab[0], asic[0]) for f in range(0, slab[1], asic[1])]
    )
    options = {"adc_threshold": 5 * simulator.gain + RESPONSES[name].offset, **OPTIONS}
    config = Peakfinder8Config(**options)
    full = Peakfinder8(good, radius, config, asics=tiles)
    fast = Peakfinder8(good, radius, replace(config, samples_per_bin=100), asics=tiles)
    print(f"  peakfinder8: {len(full(frame))} peaks")
    pixels = sample(np.rint(radius).astype(np.int64).ravel(), good, 100)
    om_full, s = cpu_ms(lambda: peers.om_peakfinder8(frame, good, radius, asic, options))
    row("ondamonitor peakfinder8", om_full, s, None, limit)
    row("peakrt peakfinder8", *cpu_ms(lambda: full(frame)), om_full, limit)
    om_fast, s = cpu_ms(lambda: peers.om_peakfinder8(frame, good, radius, asic, options, pixels))
    row("ondamonitor peakfinder8, fast", om_fast, s, None, limit)
    row("peakrt peakfinder8, sampled", *cpu_ms(lambda: fast(frame)), om_fast, limit)
    if native.dtype != np.float32:
        row(f"peakrt peakfinder8, {native.dtype}", *cpu_ms(lambda: full(native)), om_full, limit)
        row(f"peakrt peakfinder8, sampled, {native.dtype}", *cpu_ms(lambda: fast(native)), om_fast, limit)
    bench_candidate(simulator, om_fast, limit)
    bench_v3r3(frame, good, asic, limit)
    bench_labelling(frame, limit)
    bench_all_cores(detector, simulator, native, limit)


def bench_candidate(simulator: Simulator, om_fast: float, limit: float) -> None:
    """The default finder whole, on a frame with about a hundred peaks and on a blank one, and its stages."""
    from peakrt.finders.proposer import Proposer
    from peakrt.models.engine_onnx import OnnxEngine
    from peakrt.models.model_file import load_model

    detector, model = simulator.detector, load_model("default")
    engine = OnnxEngine(model)
    proposer = Proposer(simulator.good, detector.radius, asics=detector.asics)
    blank = replace(simulator, scene=replace(simulator.scene, hit_fraction=0.0))
    faint = replace(simulator, scene=replace(simulator.scene, photons=(400.0, 400.0)))
    for name, frame in (("hit", faint.event(0).frame), ("blank", blank.event(0).frame)):
        finder = PeakFinder(CandidateConfig(gain=simulator.gain), geometry=detector, mask=simulator.good)
        n = len(finder(frame))
        candidates = proposer.propose(frame, simulator.gain)
        numbers = proposer.describe()
        scores = engine(numbers)
        row(f"peakrt candidate, {name}: {n} peaks", *cpu_ms(lambda f=frame, whole=finder: whole(f)), om_fast, limit)
        row("  propose", *cpu_ms(lambda f=frame: proposer.propose(f, simulator.gain)), None, limit)
        row(f"  describe {candidates} candidates", *cpu_ms(proposer.describe), None, limit)
        row("  score", *cpu_ms(lambda n=numbers: engine(n)), None, limit)
        row("  measure", *cpu_ms(lambda s=scores: proposer.measure(s, model.threshold)), None, limit)


def masks_of_events(shape: tuple[int, ...], n: int, changing: float) -> list[np.ndarray]:
    """Masks of which 1.5 % of the pixels are bad in all, and a share of others in each."""
    rng = np.random.default_rng(0)
    always = rng.random(shape) > 0.015
    return [always & (rng.random(shape) > changing) for _ in range(n)]


def bench_masks(simulator: Simulator, limit: float) -> None:
    """A source with one mask against one with a mask for each event, and what a plan takes.

    The ratios: one mask to many, and a plan from nothing to one of another mask. There are more masks than plans are kept,
    and more frames than a cache holds, as in a run.
    """
    from peakrt.finders.proposer import Proposer

    detector = simulator.detector
    frames = itertools.cycle([simulator.event(0).frame.copy() for _ in range(8)])
    finder = PeakFinder(CandidateConfig(gain=simulator.gain), geometry=detector, mask=simulator.good)
    proposer = Proposer(simulator.good, detector.radius, asics=detector.asics)
    for changing in (0.001, 0.015):
        masks = masks_of_events(detector.shape, 2 * MOST_PLANS, changing)
        each = itertools.cycle(masks)
        one, s = cpu_ms(lambda m=masks[0]: finder(next(frames), m))
        row(f"peakrt candidate, one mask, {(~masks[0]).mean():.1%} bad", one, s, None, limit)
        many = cpu_ms(lambda e=each: finder(next(frames), next(e)))
        row(f"  a mask for each event, {changing:.1%} their own", *many, one, limit)
        new, s = cpu_ms(lambda e=each: Proposer(next(e), detector.radius, asics=detector.asics))
        row("  plan from nothing", new, s, None, limit)
        row(
            "  plan of another mask",
            *cpu_ms(lambda e=each: proposer.with_good(GoodPixels.of(next(e), detector.shape))),
            new,
            limit,
        )


def bench_mask_files(simulator: Simulator, limit: float, n: int = 36) -> None:
    """A file with one mask, and with a mask for each event: reading and finding, an event of the one after one of the other.

    Frames and masks are not compressed. The first events, of which plans are made from nothing, do not count.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run.cxi"
        write_run(run, simulator, (simulator.event(k) for k in range(n)))
        lines = [
            line
            for line in run.with_suffix(".geom").read_text().splitlines()
            if not line.split("/")[-1].startswith("mask")
        ]
        slab = (simulator.detector.shape[0] * simulator.detector.shape[1], simulator.detector.shape[2])
        masks = masks_of_events(slab, n, 0.001)
        with h5py.File(run, "a") as file:
            file["/bad"] = ~masks[0]
            every = file.create_dataset("/bad_of_events", (n, *slab), np.uint8, chunks=(1, *slab))
            for k, mask in enumerate(masks):
                every[k] = ~mask
        kinds: dict[str, tuple[Iterator[Event], PeakFinder, list[float]]] = {}
        for path in ("/bad", "/bad_of_events"):
            detector = parse_geom("\n".join([f"mask = {path}", "mask_bad = 1", *lines, ""]))
            finder = PeakFinder(CandidateConfig(gain=simulator.gain), geometry=detector)
            kinds[path] = iter(open_source([str(run)], detector).events()), finder, []
        for _ in range(n):
            for events, finder, times in kinds.values():
                begin = time.process_time()
                event = next(events)
                finder(event.frame, event.mask)
                times.append((time.process_time() - begin) * 1e3)
        one, each = (np.percentile(times[6:], [25, 50, 75]) for _, _, times in kinds.values())
        row("file with one mask, read and found", one[1], (one[2] - one[0]) / 2, None, limit)
        row("file with a mask for each event", each[1], (each[2] - each[0]) / 2, one[1], limit)


def bench_v3r3(frame: np.ndarray, good: np.ndarray, asic: tuple[int, int], limit: float) -> None:
    """On at most 64 ASIC-high strips of 1 Mpx: psana's finder takes a good part of a second for a Mpx."""
    rows = min(frame.shape[0], max(asic[0] * (2**20 // (asic[0] * frame.shape[1]) or 1), 512))
    part, mask = np.ascontiguousarray(frame[:rows]), np.ascontiguousarray(good[:rows])
    share = part.size / frame.size
    ours = cpu_ms(lambda: v3r3(part, mask, **V3R3))
    try:
        algorithms = peers.psana_finder()
    except BaseException as skipped:  # pytest's skip
        print(f"  psana: {skipped}")
        row(f"peakrt v3r3 ({part.shape[0]} rows)", *ours, None, limit * share)
        return
    theirs = algorithms.peak_finder_algos(seg=0, pbits=0)
    theirs.set_peak_selection_parameters(
        V3R3["npix_min"], V3R3["npix_max"], V3R3["amax_thr"], V3R3["atot_thr"], V3R3["son_min"]
    )
    mask16 = mask.astype(np.uint16)
    arguments = (int(V3R3["rank"]), V3R3["r0"], V3R3["dr"], V3R3["nsigm"])
    psana = cpu_ms(lambda: theirs.peak_finder_v3r3_d2(part, mask16, *arguments))
    row(f"psana v3r3 ({part.shape[0]} rows)", *psana, None, limit * share)
    row(f"peakrt v3r3 ({part.shape[0]} rows)", *ours, psana[0], limit * share)
    v4r3 = cpu_ms(lambda: theirs.peak_finder_v4r3_d2(part, mask16, 20.0, 50.0, 3, 3.0, 2.0))
    row(f"psana v4r3 ({part.shape[0]} rows), another algorithm", *v4r3, None, limit * share)


def bench_labelling(frame: np.ndarray, limit: float) -> None:
    from scipy import ndimage

    from peakrt.finders.components import label, measure

    level = np.percentile(frame, 99.99)

    def theirs() -> None:
        labels, n = ndimage.label(frame > level, np.ones((3, 3)))
        ndimage.center_of_mass(frame, labels, np.arange(1, n + 1))

    def ours() -> None:
        stack = frame[None]
        labels, n = label(stack > level)
        measure(stack, labels, n, background=0.0, variance=1.0)

    scipy = cpu_ms(theirs)
    row("scipy label + center_of_mass", *scipy, None, limit)
    row("peakrt label + measure", *cpu_ms(ours), scipy[0], limit)


def bench_all_cores(detector: object, simulator: Simulator, native: np.ndarray, limit: float) -> None:
    frames = [native.reshape(simulator.detector.shape)] * (8 * (os.cpu_count() or 1))
    for samples in (0, 100):
        finder = PeakFinder(
            Peakfinder8Config(samples_per_bin=samples), geometry=simulator.detector, mask=simulator.good
        )
        for threads in sorted({1, os.cpu_count() or 1}):
            finder.find(frames[: 2 * threads], threads=threads)
            begin = time.perf_counter()
            finder.find(frames, threads=threads)
            wall = (time.perf_counter() - begin) / len(frames) * 1e3
            print(f"  {label_of(samples, threads):<44}{wall:9.2f} ms of wall time, {1e3 / wall:.0f} frames/s")


def label_of(samples: int, threads: int) -> str:
    return f"PeakFinder, {samples or 'all'} px a bin, {threads} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detectors", nargs="*", default=DETECTORS)
    parser.add_argument("--masks", action="store_true", help="only the rows of masks")
    parsed = parser.parse_args()
    rate = memory_rate()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {_native.instruction_set()}; one thread reads {rate / 1e9:.1f} GB/s"
    )
    for name in parsed.detectors:
        bench_detector(name, rate, parsed.masks)


if __name__ == "__main__":
    main()
