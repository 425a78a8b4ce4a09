"""Simulated runs with truth on which peakrt-lab report judges every finder.

    python benchmarks/sets.py FOLDER [-n EVENTS]        then  peakrt-lab report FOLDER/*.cxi -o report

own-*: the catalogue's detectors and the simulator's defaults. new-*: hard cases; the dark frames and the rings are beyond
what the candidate model is trained on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from peakrt_geometry import load_detector
from peakrt_lab.simulate import RESPONSES, Response, Scene, Simulator
from peakrt_lab.truth import write_run

#: Name: detector, scene, response (None: the detector's), cell
SETS: dict[str, tuple[str, Scene, Response | None, tuple[float, ...] | None]] = {
    f"own-{name}": (name, Scene(), None, None)
    for name in ("epix10k2m", "jungfrau4m", "rayonix_mx340", "cspad", "eiger4m", "pilatus6m")
}
SETS["new-streaks"] = ("epix10k2m", Scene(bandwidth=(0.004, 0.01), size_px=(0.5, 3.0)), None, None)
SETS["new-dark"] = ("jungfrau4m", Scene(background=(0.002, 0.02), photons=(30.0, 1000.0)), None, None)
SETS["new-rings"] = ("eiger4m", Scene(ice=1.0, salt=1.0, jet=1.0, shadow=1.0, zingers=50.0), None, None)
SETS["new-crowded-ccd"] = (
    "rayonix_mx170",
    Scene(photons=(1000.0, 20000.0)),
    replace(RESPONSES["rayonix_mx170"], psf=1.3, psf_tail=0.15),
    (210.0, 230.0, 260.0, 90.0, 90.0, 90.0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", "--events", type=int, default=24)
    parser.add_argument("--seed", type=int, default=77)
    parsed = parser.parse_args()
    parsed.folder.mkdir(exist_ok=True)
    for name, (detector, scene, response, cell) in SETS.items():
        simulator = Simulator(
            load_detector(detector),
            scene,
            response or RESPONSES[detector],
            cell=cell,
            space_group="P 21 21 21",
            seed=parsed.seed,
        )
        write_run(parsed.folder / f"{name}.cxi", simulator, (simulator.event(n) for n in range(parsed.events)))
        print(f"wrote {parsed.folder / name}.cxi")


if __name__ == "__main__":
    main()
