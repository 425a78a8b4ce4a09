"""Write a run of a simulated Jungfrau 4M as xtc2: python write_run.py FOLDER [events]

Raw data as the detector gives them: 14 bits of ADC and 2 of gain stage, pedestals and gains that differ from pixel to pixel.
FOLDER/constants.npz holds the calibration, FOLDER/truth.npz what is in the frames.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import psana
from psana.dgramedit import AlgDef, DetectorDef, DgramEdit
from psana.psexp import TransitionId

from peakrt_geometry import read_psana_geometry, write_geom
from peakrt_lab.simulate import RESPONSES, Scene, Simulator

EXPERIMENT, RUN, DETECTOR = "mfxpeakrt", 7, "jungfrau"
SEGMENTS, ROWS, COLUMNS, STREAMS = 8, 512, 1024, 2
PHOTON_keV, CAMERA_LENGTH_m = 9.5, 0.12
GEOMETRY = Path(psana.__file__).parent / "pscalib/geometry/data/geometry-def-jungfrau4M.data"
RAW = {"raw": (np.uint16, 2), "numHotPixels": (np.uint32, 0), "hotPixelThresh": (np.uint32, 0)}


def constants(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Pedestals (ADU) and gains (ADU a keV) of the three stages, and the pixels' status (0 = good)."""
    shape = (SEGMENTS, ROWS, COLUMNS)
    pedestals = np.stack([2000 + 20 * rng.standard_normal(shape), *(13000 + 50 * rng.standard_normal((2, *shape)))])
    gains = np.stack([np.full(shape, g) * (1 + 0.01 * rng.standard_normal(shape)) for g in (41.5, -1.39, -0.11)])
    status = np.zeros((3, *shape), np.uint64)
    status[:, rng.random(shape) < 1e-3] = 1
    return {"pedestals": pedestals.astype(np.float32), "pixel_gain": gains.astype(np.float32), "pixel_status": status}


def as_raw(kev: np.ndarray, calibration: dict[str, np.ndarray]) -> np.ndarray:
    """What the detector sends for energies (keV): the first stage, and where it would overflow the second or third."""
    out = np.zeros(kev.shape, np.uint16)
    left = np.ones(kev.shape, bool)
    for stage, bits in enumerate((0x0000, 0x4000, 0xC000)):
        adc = np.rint(calibration["pedestals"][stage] + kev * calibration["pixel_gain"][stage])
        fits = left & (adc >= 0) & (adc < 0x3FFF) if stage < 2 else left
        out[fits] = np.clip(adc[fits], 0, 0x3FFF).astype(np.uint16) | bits
        left &= ~fits
    return out


class Stream:
    """One DAQ stream: a file of data and its twin of offsets, which psana2 reads first."""

    def __init__(self, folder: Path, number: int, segments: range) -> None:
        (folder / "smalldata").mkdir(parents=True, exist_ok=True)
        name = f"{EXPERIMENT}-r{RUN:04d}-s{number:03d}-c000"
        self.segments = segments
        self.size = len(segments) * ROWS * COLUMNS * 2 + (4 << 20)
        self.buffer, self.written = bytearray(self.size), 0
        self.files = (folder / f"{name}.xtc2").open("wb"), (folder / f"smalldata/{name}.smd.xtc2").open("wb")
        self.data, self.data_parts = self._configure(number, small=False)
        self.small, self.small_parts = self._configure(number, small=True)
        self._save(0, self.data)
        self._save(1, self.small)

    def _configure(self, number: int, *, small: bool) -> tuple[DgramEdit, dict]:
        configure = DgramEdit(transition_id=TransitionId.Configure, ts=1 << 32, bufsize=self.size)
        info = {"expt": (str, 1), "runnum": (np.uint32, 0)}
        parts = {"runinfo": configure.Detector(DetectorDef("runinfo", "runinfo", ""), AlgDef("runinfo", 0, 0, 1), info, nodeId=number)}  # fmt: skip
        for k in self.segments:
            definition, algorithm = DetectorDef(DETECTOR, "jungfrau", f"simulated-{k:02d}"), AlgDef("raw", 0, 2, 0)
            parts[k] = configure.Detector(definition, algorithm, RAW, segment=k, nodeId=number)
        if number == 0:
            energy = {"ebeamPhotonEnergy": (np.float64, 0)}
            parts["beam"] = configure.Detector(DetectorDef("ebeam", "ebeam", "simulated"), AlgDef("raw", 2, 0, 0), energy, nodeId=number)  # fmt: skip
        if small:
            offsets = {"intOffset": (np.uint64, 0), "intDgramSize": (np.uint64, 0)}
            parts["offset"] = configure.Detector(DetectorDef("smdinfo", "offset", ""), AlgDef("offsetAlg", 0, 0, 0), offsets, nodeId=number)  # fmt: skip
        return configure, parts

    def _save(self, which: int, dgram: DgramEdit) -> int:
        dgram.save(self.buffer)
        self.files[which].write(self.buffer[: dgram.size])
        if which == 0:
            self.written += dgram.size
        return dgram.size

    def transition(self, kind: int, stamp: int) -> None:
        """Write a transition to both files."""
        for which, (configure, parts) in enumerate(((self.data, self.data_parts), (self.small, self.small_parts))):
            dgram = DgramEdit(transition_id=kind, config_dgramedit=configure, ts=stamp, bufsize=1 << 16)
            if kind == TransitionId.BeginRun:
                info = parts["runinfo"].runinfo
                info.expt, info.runnum = EXPERIMENT, RUN
                dgram.adddata(info)
            self._save(which, dgram)

    def event(self, stamp: int, raw: np.ndarray) -> None:
        """Write this stream's segments of an event."""
        dgram = DgramEdit(transition_id=TransitionId.L1Accept, config_dgramedit=self.data, ts=stamp, bufsize=self.size)
        for k in self.segments:
            part = self.data_parts[k].raw
            part.raw, part.numHotPixels, part.hotPixelThresh = np.ascontiguousarray(raw[k]), 0, 15000
            dgram.adddata(part)
        if "beam" in self.data_parts:
            beam = self.data_parts["beam"].raw
            beam.ebeamPhotonEnergy = PHOTON_keV * 1e3
            dgram.adddata(beam)
        offset = self.written
        size = self._save(0, dgram)
        dgram = DgramEdit(transition_id=TransitionId.L1Accept, config_dgramedit=self.small, ts=stamp, bufsize=1 << 16)
        where = self.small_parts["offset"].offsetAlg
        where.intOffset, where.intDgramSize = offset, size
        dgram.adddata(where)
        self._save(1, dgram)

    def close(self) -> None:
        """Close both files."""
        for file in self.files:
            file.close()


def main() -> None:
    folder, events = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 24
    from dataclasses import replace

    detector = read_psana_geometry(GEOMETRY, camera_length=CAMERA_LENGTH_m)
    detector = replace(detector, photon_energy=PHOTON_keV * 1e3, adu_per_photon=PHOTON_keV)
    scene = Scene(hit_fraction=0.6, photons=(300.0, 10000.0), background=(0.3, 3.0))
    simulator = Simulator(detector, scene, RESPONSES["jungfrau4m"], cell=(79.0, 79.0, 38.0, 90.0, 90.0, 90.0), space_group="P 43 21 2", seed=7)  # fmt: skip
    calibration = constants(np.random.default_rng(1))
    calibration["pixel_status"][:, ~simulator.good.reshape(SEGMENTS, ROWS, COLUMNS)] = 1
    per = SEGMENTS // STREAMS
    streams = [Stream(folder, k, range(k * per, (k + 1) * per)) for k in range(STREAMS)]
    second = 10
    for kind in (TransitionId.BeginRun, TransitionId.BeginStep, TransitionId.Enable):
        for stream in streams:
            stream.transition(kind, second << 32)
        second += 1
    peaks, hits, stamps = [], [], []
    for k in range(events):
        event = simulator.event(k)
        raw = as_raw(event.frame.reshape(SEGMENTS, ROWS, COLUMNS), calibration)
        stamps.append((second << 32) + 1000 * (k + 1))
        for stream in streams:
            stream.event(stamps[-1], raw)
        peaks.append(event.peaks)
        hits.append(event.hit)
    for kind in (TransitionId.Disable, TransitionId.EndStep, TransitionId.EndRun):
        second += 1
        for stream in streams:
            stream.transition(kind, second << 32)
    for stream in streams:
        stream.close()
    np.savez(folder / "constants.npz", geometry=np.array(GEOMETRY.read_text()), **calibration)
    offsets = np.cumsum([0, *(len(p) for p in peaks)])
    np.savez(
        folder / "truth.npz",
        peaks=np.concatenate(peaks),
        offsets=offsets,
        hit=hits,
        timestamp=np.array(stamps, np.int64),
    )
    from peakrt_lab.truth import write_cell

    write_cell(folder / "lysozyme.cell", simulator.cell, simulator.space_group)
    write_geom(detector, folder / "jungfrau.geom", comment="psana's geometry of the simulated run.")
    print(f"wrote {events} events, {sum(hits)} with crystals, to {folder}")


if __name__ == "__main__":
    main()
