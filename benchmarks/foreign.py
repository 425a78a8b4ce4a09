"""The candidate finder on stills that other programs simulated: recall by SNR, precision, blanks, calibration of scores.

    python benchmarks/foreign.py simulate FOLDER --pattern-sim PROGRAM --nanobragg PROGRAM
    python benchmarks/foreign.py judge FOLDER [-m MODEL ...]

pattern_sim comes with CrystFEL up to 0.10.2, nanoBragg is the C program of github.com/bl831/nanoBragg. Each is asked for the
photons of single crystals without noise; scatter, counting and the detector are added here, by numpy alone. True peaks are
the maxima of what the program gave. The run of a set, with its truth, is one that peakrt-lab compare and evaluate read.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from peakrt.config import CandidateConfig
from peakrt.event import Event
from peakrt.finder import PeakFinder
from peakrt.sources import open_source
from peakrt_geometry import Detector, load_detector, read_geom, write_geom
from peakrt_geometry.panels import HC_EV_M
from peakrt_lab.calibration import calibration_error
from peakrt_lab.compare import PeakSets, match, near_any, slab_peaks, truth_sets
from peakrt_lab.crystal import Crystal, make_crystal, random_rotation
from peakrt_lab.simulate import TRUTH, Response, SimulatedEvent, Simulator
from peakrt_lab.truth import Truth, write_cell, write_reflections, write_run

Floats = npt.NDArray[np.float64]
GATE = 15  # peaks that make a hit
LEAST_SNR = 4.0
CLASSES = ((4.0, 5.0), (5.0, 6.0), (6.0, 8.0), (8.0, 15.0), (15.0, np.inf))
SEED = 612
LEAST_SCORE = 0.02  # of what is looked at for the curve and for the calibration of all candidates
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class ForeignSet:
    """What is simulated, by which program, and what the detector makes of it.

    program : "pattern_sim" or "nanobragg"; size : of the crystals along each axis, nm
    bandwidth : relative, in percent; mosaicity : degrees (nanoBragg only)
    response : its point spread acts on counted photons where psf_after is set
    background : photons a pixel at the top of the water ring
    """

    program: str
    detector: str
    cell: tuple[float, ...]
    space_group: str
    size: tuple[float, float]
    response: Response
    bandwidth: float = 0.2
    mosaicity: float = 0.0
    background: tuple[float, float] = (0.02, 10.0)
    photons: tuple[float, float] = (8.0, 1000.0)  # of the twentieth peak of a frame by strength


_LYSOZYME, _LYSOZYME_GROUP = (79.1, 79.1, 38.4, 90.0, 90.0, 90.0), "P 43 21 2"
_FLOAT = Response(psf=0.0, read_noise=0.15)
SETS = {
    "pattern_sim-epix10k2m": ForeignSet(
        "pattern_sim", "epix10k2m", _LYSOZYME, _LYSOZYME_GROUP, (150.0, 400.0), Response(psf=0.0, read_noise=0.2)
    ),
    "pattern_sim-jungfrau4m": ForeignSet(
        "pattern_sim", "jungfrau4m", (92.0, 92.0, 128.0, 90.0, 90.0, 90.0), "P 41 21 2", (200.0, 500.0), _FLOAT
    ),
    "pattern_sim-rayonix_mx170": ForeignSet(
        "pattern_sim", "rayonix_mx170", (58.4, 58.4, 151.0, 90.0, 90.0, 90.0), "P 41 21 2", (150.0, 400.0),
        Response(psf=0.7, psf_after=True, read_noise=0.6, offset=40.0, dtype="u2", low=0, high=65535),
    ),
    "nanobragg-eiger4m": ForeignSet(
        "nanobragg", "eiger4m", (67.1, 73.9, 92.6, 90.0, 97.0, 90.0), "P 1 21 1", (250.0, 700.0),
        Response(psf=0.0, read_noise=0.0, gain_spread=0.0, dtype="u4", low=0, high=2**22), 0.15, 0.05, (0.005, 5.0),
    ),
    "nanobragg-rayonix_mx340": ForeignSet(
        "nanobragg", "rayonix_mx340", _LYSOZYME, _LYSOZYME_GROUP, (150.0, 600.0),
        Response(psf=0.45, psf_after=True, read_noise=0.4, offset=10.0, dtype="u2", low=0, high=65535), 0.3, 0.1,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Programs:
    """Paths of the simulators."""

    pattern_sim: str | None
    nanobragg: str | None


# What the programs give


def crystals(one: ForeignSet, simulator: Simulator, count: int, programs: Programs) -> Iterator[tuple[Floats, Floats]]:
    """Photons of crystals without noise, in units of the program's own (panel, ss, fs), and rows a*, b*, c* in 1/A.

    Raises RuntimeError where the program fails.
    """
    program = programs.pattern_sim if one.program == "pattern_sim" else programs.nanobragg
    assert program is not None
    d_min = max(1.6, 1 / (float(simulator.detector.resolution().max()) / 10))
    crystal = make_crystal(one.cell, one.space_group, d_min, SEED)
    with tempfile.TemporaryDirectory(prefix="peakrt-") as name:
        folder = Path(name)
        for number in range(count):
            rng = np.random.default_rng([SEED, 3, number])
            ask = _pattern_sim if one.program == "pattern_sim" else _nanobragg
            yield ask(program, folder, one, simulator, crystal, rng)


def _intensities(crystal: Crystal, b_factor: float) -> Floats:
    return 1e4 * crystal.strength * np.exp(-b_factor * (crystal.q**2).sum(1) / 2)


def _run(command: list[str], folder: Path, given: str = "") -> None:
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {(done.stderr or done.stdout).strip().splitlines()[-1]}")


def _pattern_sim(
    program: str, folder: Path, one: ForeignSet, simulator: Simulator, crystal: Crystal, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    if not (folder / "crystal.hkl").exists():
        write_geom(simulator.detector.as_slab("/data"), folder / "run.geom")
        write_cell(folder / "crystal.cell", one.cell, one.space_group)
        write_reflections(folder / "crystal.hkl", crystal.hkl, _intensities(crystal, 25.0), "1")
    size = float(np.exp(rng.uniform(*np.log(one.size))))
    turn = rng.standard_normal(4)
    turn /= np.linalg.norm(turn)
    command = [
        program, "-g", "run.geom", "-p", "crystal.cell", "-i", "crystal.hkl", "-y", "1", "-n", "1", "-o", "out.h5",
        "--no-noise", "--no-fringes", "-t", "mosaic", "-s", "1", f"--min-size={size:.0f}", f"--max-size={size + 60:.0f}",
    ]  # fmt: skip
    _run(command, folder, " ".join(f"{value:.8f}" for value in turn) + "\n")
    with h5py.File(folder / "out.h5") as file:
        lattice = np.array([file[f"pattern_sim/{axis}star"][:] for axis in "abc"]) * 1e-10
        return file["data"][:].astype(float).reshape(simulator.detector.shape), lattice


def _nanobragg(
    program: str, folder: Path, one: ForeignSet, simulator: Simulator, crystal: Crystal, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    detector = simulator.detector
    panels, n_ss, n_fs = detector.shape
    assert panels == 1, "nanoBragg has one flat panel"
    if not (folder / "crystal.hkl").exists():
        rows = zip(crystal.hkl, np.sqrt(_intensities(crystal, 25.0)), strict=True)
        (folder / "crystal.hkl").write_text("".join("{} {} {}".format(*hkl) + f" {value:.3f}\n" for hkl, value in rows))
    lattice = crystal.reciprocal @ random_rotation(rng).T
    wavelength, pixel = HC_EV_M / simulator.energy * 1e10, detector.panels[0].pixel_size_m
    (folder / "A.mat").write_text("\n".join(" ".join(f"{v:.9f}" for v in row) for row in lattice.T * wavelength) + "\n")
    cells = np.maximum(4, np.exp(rng.uniform(*np.log(one.size))) * 10 / np.array(one.cell[:3])).astype(int)
    # Centre of the first pixel, in pixels from the beam; the program counts from its corner, one pixel to one.
    x, y = detector.x_m[0, 0, 0] / pixel, detector.y_m[0, 0, 0] / pixel
    options = {
        "-mat": "A.mat", "-hkl": "crystal.hkl", "-lambda": f"{wavelength:.6f}", "-pixel": f"{pixel * 1e3:.6f}",
        "-distance": f"{simulator.camera_length * 1e3:.4f}", "-detpixels_x": n_fs, "-detpixels_y": n_ss,
        "-ORGX": f"{0.5 - x:.3f}", "-ORGY": f"{0.5 - y:.3f}", "-Na": cells[0], "-Nb": cells[1], "-Nc": cells[2],
        "-mosaic": one.mosaicity, "-mosaic_domains": 6, "-mosaic_seed": -int(rng.integers(1, 1 << 30)),
        "-dispersion": one.bandwidth, "-dispsteps": 3, "-oversample": 1, "-floatfile": "out.bin",
    }  # fmt: skip
    axes = {"-fdet_vector": "1 0 0", "-sdet_vector": "0 1 0", "-odet_vector": "0 0 1", "-beam_vector": "0 0 1",
            "-polar_vector": "1 0 0", "-spindle_axis": "1 0 0"}  # fmt: skip
    command = [program, "-round_xtal", "-nonoise", "-nopgm", "-noprogress", "-nointerpolate"]
    command += [word for name, value in options.items() for word in (name, str(value))]
    command += [word for name, value in axes.items() for word in (name, *value.split())]
    _run(command, folder)
    return np.fromfile(folder / "out.bin", "<f4").astype(float).reshape(detector.shape), lattice


# What the detector makes of it


def true_peaks(
    light: Floats, background: Floats, asics: npt.NDArray[np.int32], response: Response
) -> npt.NDArray[np.void]:
    """The maxima of a crystal's expected photons, ASIC by ASIC: TRUTH, with the SNR as peakrt_lab.simulate defines it.

    light : as it falls on the pixels, after the point spread, (panel, ss, fs)
    """
    from scipy.ndimage import maximum_filter, uniform_filter

    parts = [np.zeros(0, TRUTH)]
    span = np.arange(-3, 4)
    for panel, min_ss, end_ss, min_fs, end_fs in asics.tolist():
        here = np.pad(light[panel, min_ss:end_ss, min_fs:end_fs], 3)
        sums = 9 * uniform_filter(here, 3, mode="constant") + 1e-3 * here
        at = np.argwhere((sums == maximum_filter(sums, 5)) & (sums > 0.7))
        at = at[((at >= 3) & (at < np.array(here.shape) - 3)).all(1)]
        boxes = here[at[:, 0, None, None] + span[:, None], at[:, 1, None, None] + span]
        total = boxes.sum((1, 2))
        ss, fs = (boxes * span[:, None]).sum((1, 2)) / total, (boxes * span).sum((1, 2)) / total
        v_ss, v_fs = (boxes * span[:, None] ** 2).sum((1, 2)) / total, (boxes * span**2).sum((1, 2)) / total
        peaks = np.zeros(len(at), TRUTH)
        peaks["panel"], peaks["photons"] = panel, total
        peaks["ss"], peaks["fs"] = at[:, 0] - 3 + min_ss + ss, at[:, 1] - 3 + min_fs + fs
        peaks["sigma"] = np.sqrt(np.maximum(0, (v_ss - ss**2 + v_fs - fs**2) / 2))
        peaks["background"] = background[panel, at[:, 0] - 3 + min_ss, at[:, 1] - 3 + min_fs]
        parts.append(peaks)
    peaks = np.concatenate(parts)
    variance = peaks["background"] + response.read_noise**2
    peaks["snr"] = peaks["photons"] / np.sqrt(
        peaks["photons"] + np.maximum(4 * np.pi * peaks["sigma"] ** 2, 1) * variance
    )
    return peaks[peaks["photons"] > 1]


def scatter(simulator: Simulator, level: float, rng: np.random.Generator) -> Floats:
    """Expected photons of water and air, level at the top of the water ring."""
    s = simulator.detector.resolution().astype(float) / 10  # 1/A
    water = np.exp(-0.5 * ((s - 0.31) / 0.06) ** 2) + 0.3 * np.exp(-0.5 * ((s - 0.47) / 0.08) ** 2)
    return np.asarray(level * (water + rng.uniform(0.3, 2) * np.exp(-s / rng.uniform(0.05, 0.15)) + 0.1))


def blurred(image: Floats, psf: float) -> Floats:
    """An image after the point spread of its panels."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(image, (0.0, psf, psf), mode="nearest")) if psf else image


def read_out(simulator: Simulator, expected: Floats, rng: np.random.Generator) -> npt.NDArray[np.generic]:
    """A frame of expected photons."""
    response = simulator.response
    photons = blurred(rng.poisson(expected).astype(float), response.psf)
    spread = np.random.default_rng(SEED).normal(1, response.gain_spread, photons.shape)
    frame = simulator.gain * (photons * spread + response.read_noise * rng.standard_normal(photons.shape))
    frame = np.clip(frame + response.offset, response.low, response.high)
    frame[~simulator.detector.covered] = 0
    return (np.rint(frame) if np.dtype(response.dtype).kind in "iu" else frame).astype(response.dtype)


def events(
    one: ForeignSet, simulator: Simulator, count: int, blanks: int, programs: Programs
) -> Iterator[SimulatedEvent]:
    """Each crystal at two fluxes, then frames without one."""
    detector = simulator.detector
    dark = np.zeros(detector.shape)
    for number, (light, lattice) in enumerate(crystals(one, simulator, count, programs)):
        light = np.where(detector.covered, light, 0) * (1e5 / light.max())
        spread = blurred(light, one.response.psf)
        strongest = np.sort(true_peaks(spread, dark, detector.asics, one.response)["photons"])[::-1]
        for exposure in range(2):
            rng = np.random.default_rng([SEED, 4, number, exposure])
            scale = _draw(rng, one.photons) / float(strongest[:20][-1])
            background = scatter(simulator, _draw(rng, one.background), rng)
            truth = true_peaks(spread * scale, background, detector.asics, one.response)
            yield SimulatedEvent(read_out(simulator, light * scale + background, rng), True, truth, lattice[None], 1.0)
    for number in range(blanks):
        rng = np.random.default_rng([SEED, 5, number])
        frame = read_out(simulator, scatter(simulator, _draw(rng, one.background), rng), rng)
        yield SimulatedEvent(frame, False, np.zeros(0, TRUTH), np.zeros((0, 3, 3)), 1.0)


def _draw(rng: np.random.Generator, low_high: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(low_high))))


def simulate(folder: Path, name: str, count: int, blanks: int, programs: Programs) -> None:
    """Write the run of a set, unless it is there."""
    one, path = SETS[name], folder / f"{name}.cxi"
    if path.exists():
        return
    # Of the simulator of ours only the description of detector and crystal is used.
    described = {"cell": one.cell, "space_group": one.space_group, "seed": SEED}
    simulator = Simulator(load_detector(one.detector), response=one.response, **described)
    write_run(path, simulator, events(one, simulator, count, blanks, programs))
    print(f"wrote {path}", flush=True)


# Judging


@dataclass
class Judged:
    """Peaks of a finder on a set, with all that it gives at least LEAST_SCORE.

    frame, score : of each; right : whether a true peak, however faint, is within 3 pixels; snr : of the true one that it
    is matched with, NaN without
    """

    frame: npt.NDArray[np.int64]
    score: npt.NDArray[np.float32]
    right: npt.NDArray[np.bool_]
    snr: Floats


@dataclass
class Set:
    """A set on disk: SNR of all true peaks by frame, and whether a frame has a crystal."""

    detector: Detector
    events: list[Event]
    truth: PeakSets
    hit: npt.NDArray[np.bool_]

    @classmethod
    def read(cls, path: Path) -> Set:
        """Read a run. Its frames stay on disk until they are asked for."""
        detector = read_geom(path.with_suffix(".geom"))
        return cls(
            detector, list(open_source([str(path)], detector).events()), truth_sets(path, detector), Truth(path).hit
        )

    def visible(self, low: float = LEAST_SNR, high: float = np.inf) -> int:
        """True peaks of an SNR."""
        return sum(int(((peaks.snr >= low) & (peaks.snr < high)).sum()) for peaks in self.truth.values())

    def judge(self, config: CandidateConfig) -> Judged:
        """Peaks of the candidate finder."""
        finder = PeakFinder(config, geometry=self.detector)
        parts = []
        for number, event in enumerate(self.events):
            peaks = finder(event.frame, event.mask)
            found, true = slab_peaks(peaks, event.frame.shape[1]), self.truth[number]
            snr = np.full(len(found), np.nan)
            i, j = match(true, found, distance=3.0)
            snr[j] = true.snr[i]
            parts.append((np.full(len(found), number), peaks["score"], near_any(found, true), snr))
        return Judged(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def cells(one: Set, found: Judged) -> list[str]:
    """Recall by SNR, precision, false peaks a blank, frames with GATE peaks, calibration error of the peaks' scores."""
    recall = [(found.snr >= low) & (found.snr < high) for low, high in CLASSES]
    shares = [f"{r.sum() / max(1, one.visible(*c)):.3f}" for r, c in zip(recall, CLASSES, strict=True)]
    blank = int((~one.hit[found.frame]).sum()) / max(1, int((~one.hit).sum()))
    gated = int((np.bincount(found.frame, minlength=len(one.hit))[one.hit] >= GATE).sum())
    expected = sum(int((one.truth[n].snr >= LEAST_SNR).sum() >= GATE) for n in np.flatnonzero(one.hit))
    error = calibration_error(found.score, found.right)
    return [*shares, f"{found.right.mean():.4f}", f"{blank:.3f}", f"{gated} of {expected}", f"{error:.3f}"]


def judge(folder: Path, names: Iterable[str], models: Iterable[str]) -> None:
    """Print the table, and the trade between recall and false peaks against the threshold."""
    head = [
        "set",
        "model",
        *(f"{a:g}-{b:g}" for a, b in CLASSES),
        "precision",
        "blank",
        "frames at the gate",
        "ECE",
        "ECE, all",
    ]
    _line(head)
    _line(["---"] * len(head))
    low: dict[str, list[tuple[Set, Judged]]] = {}
    for name in names:
        one = Set.read(folder / f"{name}.cxi")
        for model in models:
            usual = one.judge(CandidateConfig(model=model))
            everything = one.judge(CandidateConfig(model=model, min_score=LEAST_SCORE))
            low.setdefault(model, []).append((one, everything))
            error = calibration_error(everything.score, everything.right)
            _line([name, Path(model).stem, *cells(one, usual), f"{error:.3f}"])
    print()
    _line(["model", "score at least", f"recall above SNR {LEAST_SNR:g}", "precision", "false peaks a blank"])
    _line(["---"] * 5)
    for model, sets in low.items():
        visible, blanks = sum(one.visible() for one, _ in sets), sum(int((~one.hit).sum()) for one, _ in sets)
        for threshold in THRESHOLDS:
            kept = [(one, found, found.score >= threshold) for one, found in sets]
            recalled = sum(int((found.snr[k] >= LEAST_SNR).sum()) for _, found, k in kept)
            right, total = sum(int(found.right[k].sum()) for _, found, k in kept), sum(int(k.sum()) for *_, k in kept)
            false = sum(int((~one.hit[found.frame[k]]).sum()) for one, found, k in kept)
            numbers = [f"{recalled / visible:.3f}", f"{right / max(1, total):.4f}", f"{false / max(1, blanks):.3f}"]
            _line([Path(model).stem, f"{threshold:g}", *numbers])


def _line(row: Iterable[str]) -> None:
    print("| " + " | ".join(row) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("simulate", "judge"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=tuple(SETS))
    parser.add_argument("--crystals", type=int, default=20, help="of a set, each at two fluxes [20]")
    parser.add_argument("--blanks", type=int, default=40, help="frames of a set without a crystal [40]")
    parser.add_argument("--pattern-sim", metavar="PROGRAM")
    parser.add_argument("--nanobragg", metavar="PROGRAM")
    parser.add_argument("-m", "--models", nargs="+", default=["default"], help="candidate models to judge [default]")
    parsed = parser.parse_args()
    if parsed.what == "judge":
        lacking = [name for name in parsed.sets if not (parsed.folder / f"{name}.cxi").exists()]
        if lacking:
            parser.error(
                f"{parsed.folder} has no set {lacking[0]}: make it with 'simulate', or name others with --sets"
            )
        judge(parsed.folder, parsed.sets, parsed.models)
        return
    for option in ("pattern_sim", "nanobragg"):
        path = getattr(parsed, option)
        if path is None and any(SETS[name].program == option for name in parsed.sets):
            parser.error(f"these sets need {option}: give --{option.replace('_', '-')}, or name others with --sets")
        if path is not None and not Path(path).is_file():
            parser.error(f"there is no program {path}")
    parsed.folder.mkdir(exist_ok=True)
    programs = Programs(*(path and str(Path(path).resolve()) for path in (parsed.pattern_sim, parsed.nanobragg)))
    for name in parsed.sets:
        simulate(parsed.folder, name, parsed.crystals, parsed.blanks, programs)


if __name__ == "__main__":
    main()
