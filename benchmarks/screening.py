"""peakrt screen against the network of Ke et al. 2018, on simulated twins of the paper's five runs: its Tables 3 to 8 in form.

    python benchmarks/screening.py FOLDER [-n FRAMES] [--steps STEPS] [--labels FV5080]

The twins (peakrt_lab/screening/twins.py) have the paper's detectors, energies, cells, artifacts and mix of classes; a frame's class is
that of its peaks of a true SNR of 5. The network is trained on half of each twin's frames as the paper says, with fewer steps and
frames, and judged on the other half. PeakRT is trained on none of them. --labels: a folder of nksauter/fv5080 with the expert's labels and
DIALS' counts of the real frames, for a threshold on those counts that is fitted. Frames stay in FOLDER for the next time.
Needs pip install '.[train]'.
"""

from __future__ import annotations

import argparse
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from peakrt import PeakFinder
from peakrt.screening.counts import chances, class_probabilities, of_peaks
from peakrt.screening.promise import keep_recall
from peakrt_lab.calibration import calibration_error
from peakrt_lab.screening import cnn
from peakrt_lab.screening.twins import TWINS, frames

GROUPS = {"Rayonix": ("LN84", "LN83", "LO19"), "LG36": ("LG36",), "L498": ("L498",)}
CONTRASTS = {"local": cnn.local_contrast, "linear": cnn.linear_contrast}


@dataclass
class Frames:
    """A twin's frames. labels : (n,) 0 Hit, 1 Maybe, 2 Miss; ours : (n, 4) what peakrt screen says of each

    all_candidates : (n, 3), the same of all candidates with a score above 0.02, rather than of the peaks
    images : by contrast, (n, 960, 960)
    seconds : CPU a frame of the finder with its probabilities, and of assembling and local contrast
    """

    labels: np.ndarray
    ours: np.ndarray
    all_candidates: np.ndarray
    images: dict[str, np.ndarray]
    seconds: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def make(folder: Path, name: str, n: int, seed: int) -> Frames:
    """Simulate a twin, find its peaks and assemble its images, or take them from the folder."""
    stem = folder / f"{name}-{n}-{seed}"
    paths = {contrast: Path(f"{stem}-{contrast}.npy") for contrast in CONTRASTS}
    if not Path(f"{stem}.npz").exists():
        side = cnn.SIDE + 2 * cnn.SHIFT
        files = {c: np.lib.format.open_memmap(path, "w+", np.float16, (n, side, side)) for c, path in paths.items()}
        twin = TWINS[name]
        finder, assemble = PeakFinder(geometry=twin.geometry()), cnn.Assembler(twin.geometry())
        every = PeakFinder(type(finder.config)(min_score=0.02), geometry=twin.geometry())
        rows: list[tuple[int, tuple[float, ...], tuple[float, ...]]] = []
        seconds = np.zeros(2)
        for k, (event, label) in enumerate(frames(twin, n, seed)):
            start = time.process_time()
            ours = of_peaks(finder(event.frame))
            middle = time.process_time()
            image = assemble(event.frame)
            files["local"][k] = cnn.local_contrast(image)
            end = time.process_time()
            files["linear"][k] = cnn.linear_contrast(image)
            found = every(event.frame)
            rows.append((label, ours, class_probabilities(chances(found["score"], found["snr"]))))
            seconds += [(middle - start) / n, (end - middle) / n]
        labels, ours, others = (np.array(column) for column in zip(*rows, strict=True))
        np.savez(f"{stem}.npz", labels=labels, ours=ours, all_candidates=others, seconds=seconds)
    images = {contrast: np.load(path, mmap_mode="r") for contrast, path in paths.items()}
    with np.load(f"{stem}.npz", allow_pickle=False) as file:
        return Frames(images=images, **{key: file[key] for key in ("labels", "ours", "all_candidates", "seconds")})


def halves(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames to train on and to judge on; their order is random already."""
    return np.arange(n // 2), np.arange(n // 2, n)


class Networks:
    """Trains each network once; a network is known by what it was trained on."""

    def __init__(self, data: dict[str, Frames], steps: int, batch: int) -> None:
        self.data, self.steps, self.batch = data, steps, batch
        self._trained: dict[tuple[object, ...], cnn.ScreeningNet] = {}

    def get(self, names: tuple[str, ...], contrast: str = "local", most: int | None = None) -> cnn.ScreeningNet:
        """The network of some twins; most : frames to train on."""
        key = (*names, contrast, most)
        if key not in self._trained:
            parts = [(self.data[name], halves(len(self.data[name]))[0]) for name in names]
            images = np.concatenate([frames.images[contrast][rows] for frames, rows in parts])
            labels = np.concatenate([frames.labels[rows] for frames, rows in parts])
            some = np.random.default_rng(5).permutation(len(labels))[:most]
            start = time.process_time()
            self._trained[key] = cnn.train(images[some], labels[some], steps=self.steps, batch=self.batch, seed=1)
            print(
                f"  (trained on {len(some)} of {'+'.join(names)}, {contrast}: {time.process_time() - start:.0f} s)",
                flush=True,
            )
        return self._trained[key]

    def verdicts(
        self, net: cnn.ScreeningNet, names: tuple[str, ...], contrast: str = "local"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of the frames to judge on: P(Hit) + P(Maybe), and whether they are Hit or Maybe."""
        probability, truth = [], []
        for name in names:
            rows = halves(len(self.data[name]))[1]
            probability.append(cnn.predict(net, self.data[name].images[contrast][rows])[:, :2].sum(1))
            truth.append(self.data[name].labels[rows] < 2)
        return np.concatenate(probability), np.concatenate(truth)


def recalls(p: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Recall of Hit-or-Maybe and of Miss, %."""
    return 100 * (p[truth] > 0.5).mean(), 100 * (p[~truth] <= 0.5).mean()


def success(p: np.ndarray, truth: np.ndarray) -> float:
    """Success rate (equation 10), %."""
    return 100 * ((p > 0.5) == truth).mean()


def fitted_threshold(folder: Path) -> tuple[float, float]:
    """Recalls on the real frames of a threshold on DIALS' counts, fitted on one half and judged on the other, mean of 20."""
    expert_text, dials_text = ((folder / f"{who}_annotation.txt").read_text() for who in ("expert", "dials"))
    expert = {int(m[1]): m[2].upper() for m in re.finditer(r"^\S+ \[(\d+)\] (\w+)", expert_text, re.MULTILINE)}
    rows = [line.split() for line in dials_text.splitlines()]
    count = {int(row[0]): int(row[1]) for row in rows if len(row) >= 3 and row[0].isdigit()}
    keys = sorted(expert)
    truth, n = np.array([expert[k] != "MISS" for k in keys]), np.array([count.get(k, 0) for k in keys])
    rng, out = np.random.default_rng(0), []
    for _ in range(20):
        order = rng.permutation(len(keys))
        fit, judge = order[: len(keys) // 2], order[len(keys) // 2 :]
        balanced = [np.mean(recalls((n[fit] >= t) * 1.0, truth[fit])) for t in range(301)]
        out.append(recalls((n[judge] >= np.argmax(balanced)) * 1.0, truth[judge]))
    recall, miss = np.mean(out, 0)
    return float(recall), float(miss)


def print_table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """A table in Markdown."""
    print(f"\n**{title}**\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows), flush=True)


def pair(values: tuple[float, float]) -> str:
    """Two recalls."""
    return f"{values[0]:.1f} / {values[1]:.1f}"


def table_3(networks: Networks, labels: Path | None) -> None:
    rows = []
    for name, frames_of in networks.data.items():
        twin, truth = TWINS[name], frames_of.labels < 2
        net = recalls(*networks.verdicts(networks.get((name,)), (name,)))
        ours = recalls(1 - frames_of.ours[:, 2], truth)
        fitted = "-" if labels is None else pair(fitted_threshold(labels / name))
        mix = "/".join(map(str, np.bincount(frames_of.labels, minlength=3)))
        rows.append([name, mix, pair(ours), pair(net), pair(twin.published), pair(twin.published_spotfinder), fitted])
    head = [
        "",
        "frames Hit/Maybe/Miss",
        "`peakrt screen`",
        "CNN, on the twin",
        "CNN, published",
        "DIALS, published",
        "DIALS, threshold fitted",
    ]
    print_table("Table 3. Recall of Hit-or-Maybe / of Miss, %", head, rows)


def calibration(data: dict[str, Frames]) -> None:
    rows = []
    for title, names in [*((name, (name,)) for name in data), ("all", tuple(data))]:
        truth = np.concatenate([data[name].labels < 2 for name in names])
        row = [title]
        for kind in ("ours", "all_candidates"):
            p = np.concatenate([1 - getattr(data[name], kind)[:, 2] for name in names])
            row += [f"{calibration_error(p.astype(np.float32), truth, bins=5):.3f}", f"{((p - truth) ** 2).mean():.3f}"]
        rows.append(row)
    head = ["", "peaks: calibration error", "Brier score", "all candidates: calibration error", "Brier score"]
    print_table("P(Hit) + P(Maybe) from the scores of the peaks, and of all candidates (five bins)", head, rows)


def tables_4_to_6(networks: Networks) -> None:
    data, names = networks.data, tuple(networks.data)
    trained: dict[str, tuple[str, ...]] = {name: (name,) for name in names}
    trained |= {"Rayonix": GROUPS["Rayonix"], "Rayonix + LG36": (*GROUPS["Rayonix"], "LG36"), "all": names}
    rows = []
    for title, group in trained.items():
        net = networks.get(group)
        rows.append([f"CNN, {title}", *(f"{success(*networks.verdicts(net, (name,))):.0f} %" for name in names)])
    ours = {name: (1 - data[name].ours[:, 2], data[name].labels < 2) for name in names}
    rows.append(["`peakrt screen`, none of them", *(f"{success(*ours[name]):.0f} %" for name in names)])
    rows.append(["... balanced accuracy", *(f"{np.mean(recalls(*ours[name])):.0f} %" for name in names)])
    print_table("Tables 4 to 6. Success rate by what was trained on (rows) and judged on", ["", *names], rows)


def table_7(networks: Networks) -> None:
    group = (*GROUPS["Rayonix"], "LG36")
    most = sum(len(halves(len(networks.data[name]))[0]) for name in group)
    rows = []
    for size in (most, most // 4, most // 10):
        net = networks.get(group, most=None if size == most else size)
        rates = [success(*networks.verdicts(net, names)) for names in (GROUPS["Rayonix"], GROUPS["LG36"])]
        rows.append([str(size), *(f"{rate:.0f} %" for rate in rates)])
    print_table("Table 7. The CNN's success rate by the number of training frames", ["frames", "Rayonix", "LG36"], rows)


def table_8(networks: Networks) -> None:
    rows = []
    for title, names in GROUPS.items():
        rates = [
            success(*networks.verdicts(networks.get(names, contrast), names, contrast))
            for contrast in ("linear", "local")
        ]
        rows.append([title, *(f"{rate:.0f} %" for rate in rates)])
    print_table("Table 8. The CNN's success rate by contrast", ["", "linear", "local"], rows)


def promise(data: dict[str, Frames], repeats: int = 100, size: int = 400) -> None:
    """How often a promised recall holds where the sample is drawn from the frames themselves."""
    scores = np.concatenate([frames_of.ours[frames_of.labels < 2, 3] for frames_of in data.values()])
    rng, rows = np.random.default_rng(11), []
    for recall in (0.9, 0.95, 0.99):
        kept = [(scores >= keep_recall(rng.choice(scores, size), recall).threshold).mean() for _ in range(repeats)]
        held = sum(share >= recall for share in kept)
        rows.append([f"{recall:g}", f"{held} of {repeats}", f"{np.mean(kept):.4f}"])
    title = f"Recall promised with 95 % confidence from samples of {size} of the {len(scores)} Hits and Maybes"
    print_table(title, ["promised", "held", "recall, mean"], rows)


def speed(data: dict[str, Frames], networks: Networks) -> None:
    name = next(iter(data))
    images = np.asarray(data[name].images["local"][:16])
    start = time.process_time()
    cnn.predict(networks.get((name,)), images)
    each = (time.process_time() - start) / len(images)
    ours, contrast = np.mean([frames_of.seconds for frames_of in data.values()], 0)
    print(
        f"\nCPU time a frame: the CNN's assembling, contrast and verdict take {(contrast + each) / ours:.1f} times as long as finding the "
        f"peaks and their probabilities ({1e3 * ours:.0f} ms)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", "--frames", type=int, default=200, help="of each twin [200]")
    parser.add_argument("--steps", type=int, default=100, help="mini-batches of each training [100]")
    parser.add_argument("--batch", type=int, default=24, help="frames of a mini-batch [24; the paper's is 64]")
    parser.add_argument("--labels", type=Path, help="folder of fv5080")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--without-cnn", action="store_true", help="only what needs no training")
    parsed = parser.parse_args()
    parsed.folder.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    data = {}
    for name in TWINS:
        data[name] = make(parsed.folder, name, parsed.frames, parsed.seed)
        truth = data[name].labels < 2
        print(f"{name}: {len(truth)} frames, {pair(recalls(1 - data[name].ours[:, 2], truth))}", flush=True)
    calibration(data)
    promise(data)
    if parsed.without_cnn:
        return
    networks = Networks(data, parsed.steps, parsed.batch)
    table_3(networks, parsed.labels)
    tables_4_to_6(networks)
    table_7(networks)
    table_8(networks)
    speed(data, networks)


if __name__ == "__main__":
    main()
