"""The CXI file: LUTE's layout, readable at any moment.

The file grows under ``NAME.inprogress`` in HDF5's single-writer mode, whose writes are ordered so that none points at
what is not on disk yet; they go through ``SoundFile``, which keeps the "being written" mark off the disk. So any reader
opens the file after every single write, and with it what a killed process leaves. On closing it is renamed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from peakrt_geometry import Detector, HeaderValue, MaskSource, for_crystfel
from peakrt_geometry.crystfel import format_geom

from .._native import SoundFile
from ..config import HitConfig, OutputConfig
from ..event import Event
from ..filters import BITSHUFFLE, BITSHUFFLE_LZ4, check_bitshuffle, register_filters
from ..finders.bad_pixels import COUNTED_PIXEL
from ..finders.learned import LearnedState
from ..hdf5_items import first_line, read
from ..peaks import PeakArray
from ..screening.counts import is_hit, of_peaks
from .columns import (
    ARTIFACTS,
    BAD_PIXELS,
    CAMERA_LENGTH,
    DATA,
    EVENT_COLUMNS,
    FILE_FORMAT,
    GAIN,
    LEARNED,
    LEARNED_CURVE,
    LEARNED_PIXELS,
    MASK,
    MIN_INDEXABLE,
    MIN_PEAKS,
    N_PEAKS,
    PEAK_COLUMNS,
    PHOTON_ENERGY,
    POWDER_HITS,
    POWDER_MISSES,
    PROGRESS,
    PROVENANCE,
    RESULT,
    SCREENING_COLUMNS,
    SOURCE,
    UNUSABLE,
    UNUSABLE_REASON,
    hit_rows,
)
from .indexing import index_command
from .outputs import OutputLock, check_outputs, check_unfinished, companion_paths, unfinished_path, whole_file

#: HDF5 keeps what it knows of every chunk that it has written in memory, 12 kB a row, until the file is closed: it is closed
#: and opened again after so many rows, which bounds that to 24 MB and takes some ms (benchmarks/long_run.py).
_ROWS_BETWEEN_REOPENING = 2_000
#: Rows kept back before they are written in one go, and the bytes of their frames: writing keeps the interpreter to itself,
#: 8 ms for 16 MiB and 100 ms for 64 MiB, and what is found meanwhile comes so much later.
_ROWS_HELD, _BYTES_HELD = 64, 2**24


class CxiWriter:
    """Writes events and their peaks to one CXI file.

    path : final name; until closed the file is ``path.inprogress``
    detector : of the frames; the CXI holds them as one slab of stacked panels
    provenance : what is read and how, so that resume can tell another run from this one
    resume : go on with ``path.inprogress``; events_done says from which event on, learned what its finder knew there
    overwrite : a CXI, a .lst or a .geom of these names may be replaced
    read : files that this run reads, none of which is ever replaced
    Raises OSError where the folder cannot be written, FileExistsError where a file is there already or another process
    writes there, ValueError where resume finds another run.
    """

    def __init__(
        self,
        path: str | Path,
        detector: Detector,
        *,
        hits: HitConfig | None = None,
        output: OutputConfig | None = None,
        provenance: Mapping[str, Any] | None = None,
        resume: bool = False,
        overwrite: bool = False,
        read: Iterable[Path] = (),
    ) -> None:
        self.path = Path(path)
        self.unfinished = unfinished_path(self.path)
        self.detector, self.hits, self.output = detector, hits or HitConfig(), output or OutputConfig()
        if self.output.images == "lz4":
            register_filters()
            check_bitshuffle()
        if not 1 <= self.hits.max_peaks <= 1_000_000:
            raise ValueError(f"max_peaks is {self.hits.max_peaks}, it should be 1 to 1,000,000")
        self._provenance = dict(provenance or {})
        self._file: h5py.File | None = None
        self._open: dict[str, h5py.Dataset] = {}
        self._descriptor = -1
        self._disk: SoundFile | None = None
        self._powder: dict[str, npt.NDArray[Any]] = {}
        self._rows: list[tuple[Event, PeakArray, int]] = []
        self._unusable: list[tuple[int, str]] = []
        self._flushed_state: LearnedState | None = None
        self._saved_copies = 0
        self.learned: LearnedState | None = None
        self.n_rows = self._rows_when_opened = 0
        self.n_hits = 0
        self.n_cut = 0
        self.events_done = 0
        check_outputs(self.path, read, overwrite=overwrite, resume=resume)
        self._lock = OutputLock(self.path)
        try:
            check_unfinished(self.path, overwrite=overwrite, resume=resume)
            if resume and self.unfinished.exists():
                self._reopen()
        except BaseException:
            self._lock.release()
            raise

    # Opening

    def _create(self, event: Event, good: npt.NDArray[np.bool_]) -> None:
        """Make the file in memory, put it on disk whole, and name it once any reader can open it."""
        with h5py.File("layout", "w", driver="core", backing_store=False, libver=FILE_FORMAT) as layout:
            self._lay_out(layout, event, good)
            layout.flush()
            image = layout.id.get_file_image()
        started = self.path.with_name(self.path.name + ".started")
        try:
            started.write_bytes(image)
            self._start_single_writer(started)
            os.rename(started, self.unfinished)
        except BaseException as error:
            started.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno is not None:  # write_bytes names no file
                error.filename = str(self.unfinished)
            raise

    def _lay_out(self, file: h5py.File, event: Event, good: npt.NDArray[np.bool_]) -> None:
        """Make every group and dataset: in single-writer mode none can be added."""
        slab = (event.frame.shape[0] * event.frame.shape[1], event.frame.shape[2])
        n = self.hits.max_peaks
        result = file.create_group(RESULT)
        for column in PEAK_COLUMNS:
            _grow(file, column.path, (n,), column.dtype, axes="experiment_identifier:peaks")
        for event_column in EVENT_COLUMNS:
            _grow(file, event_column.path, (), event_column.dtype, axes="experiment_identifier")
        for path in (N_PEAKS, *SCREENING_COLUMNS):
            dtype = np.int32 if path == N_PEAKS else np.float32
            _grow(file, path, (), dtype, axes="experiment_identifier")
        result["nPeaks"].attrs.update({MIN_PEAKS: self.hits.min_peaks, "maxPeaks": n})
        if self.hits.min_indexable:
            result["nPeaks"].attrs[MIN_INDEXABLE] = self.hits.min_indexable
        if self.output.images != "none":
            self._create_images(file, slab, event.frame.dtype)
        # CrystFEL's masks: 1 = bad, we hold True = good
        file.create_dataset(MASK, data=(~good).reshape(slab).astype(np.uint16), compression="gzip", compression_opts=1)
        if self.output.mask_out == "artifacts":
            axes = "experiment_identifier:y:x"
            _grow(file, ARTIFACTS, slab, np.uint8, chunks=(1, *slab), axes=axes, compression="gzip", compression_opts=1)
        if self.output.powder == "max":
            for path in (POWDER_HITS, POWDER_MISSES):
                file.create_dataset(path, data=np.zeros(slab, event.frame.dtype))
                self._powder[path] = np.zeros(slab, event.frame.dtype)
        _grow(file, SOURCE, (), np.dtype("S512"), compression="gzip")
        file.create_dataset(PROGRESS, data=np.int64(0))
        file.create_dataset(GAIN, data=np.float64(np.nan))
        file.create_dataset(BAD_PIXELS, (0, 2), np.int32, maxshape=(None, 2), chunks=(512, 2))
        _grow(file, UNUSABLE, (), np.int64)
        _grow(file, UNUSABLE_REASON, (), np.dtype("S256"), compression="gzip")
        file.create_dataset(LEARNED, data=np.array([[-1, 0, np.nan], [-1, 0, np.nan]]))
        for pixels, curve in zip(LEARNED_PIXELS, LEARNED_CURVE, strict=True):
            _grow(file, pixels, (), COUNTED_PIXEL)
            _grow(file, curve, (), np.float64)
        file[PROVENANCE].attrs["run"] = json.dumps(self._provenance, sort_keys=True, default=str)
        file.attrs["cxi_version"] = 160

    def _create_images(self, file: h5py.File, slab: tuple[int, int], dtype: np.dtype[Any]) -> None:
        compression: dict[str, Any] = {}
        chunk = slab
        if self.output.images == "gzip":
            compression, chunk = (
                {"compression": "gzip", "compression_opts": 1, "shuffle": True},
                self._chunk(slab, dtype),
            )
        elif self.output.images == "lz4":
            compression, chunk = (
                {"compression": BITSHUFFLE, "compression_opts": BITSHUFFLE_LZ4},
                self._chunk(slab, dtype),
            )
        _grow(file, DATA, slab, dtype, chunks=(1, *chunk), axes="experiment_identifier:y:x", **compression)

    def _chunk(self, slab: tuple[int, int], dtype: np.dtype[Any]) -> tuple[int, int]:
        """One chunk holds whole panels, and as few as CrystFEL's chunk cache (1 MB) does.

        CrystFEL reads panel by panel, and decompresses a chunk that the cache cannot hold once for each.
        """
        heights = {panel.end_ss - panel.min_ss for panel in self.detector.panels}
        widths = {panel.end_fs - panel.min_fs for panel in self.detector.panels}
        rows, columns = heights.pop(), slab[1]
        width = widths.pop()
        if heights or widths or slab[0] % rows or slab[1] % width:
            return slab
        while rows * columns * dtype.itemsize > 2**19 and columns % (2 * width) == 0:
            columns //= 2
        return rows, columns

    def _start_single_writer(self, path: Path) -> None:
        """Open a file for writing without keeping readers out."""
        self._descriptor = os.open(path, os.O_RDWR)
        try:
            self._disk = SoundFile(self._descriptor)
            self._file = h5py.File(self._disk, "r+", libver=FILE_FORMAT)
        except BaseException:
            os.close(self._descriptor)
            raise
        config = self._file.id.get_mdc_config()
        config.evictions_enabled = False  # metadata reach the disk at flushes only
        config.incr_mode = config.decr_mode = config.flash_incr_mode = 0
        self._file.id.set_mdc_config(config)
        self._file.swmr_mode = True
        self._rows_when_opened = self.n_rows

    def _reopen(self) -> None:
        try:
            self._start_single_writer(self.unfinished)
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.unfinished} cannot be gone on with, remove it: {error}") from error
        assert self._file is not None
        try:
            self._check_same_run()
            self._take_up()
        except (
            OSError,
            KeyError,
            IndexError,
            TypeError,
            AttributeError,
            OverflowError,
            RuntimeError,
            MemoryError,
        ) as error:
            self._let_go()
            raise ValueError(f"{self.unfinished} cannot be gone on with, remove it: {first_line(error)}") from error
        except ValueError:
            self._let_go()
            raise

    def _check_same_run(self) -> None:
        """Raise ValueError, saying what differs, unless the file was begun with the same inputs and options."""
        assert self._file is not None
        if PROVENANCE not in self._file or "run" not in self._file[PROVENANCE].attrs:
            raise ValueError(f"{self.unfinished} was not begun by PeakRT: remove it, or choose another -o")
        before = json.loads(self._file[PROVENANCE].attrs["run"])
        now = json.loads(json.dumps(self._provenance, default=str))
        differing = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
        if differing:
            raise ValueError(
                f"{self.unfinished} was begun with other inputs or options ({', '.join(differing)} differ): repeat "
                "those, or begin anew with --overwrite"
            )

    def _take_up(self) -> None:
        """Find the state that the last flush left, and cut off what was written after it."""
        assert self._file is not None
        done = int(self._file[PROGRESS][()])
        n_whole = min(len(self._at(path)) for path in growing(self._file))
        numbers = self._at("/LCLS/eventNumber")[:n_whole]
        # Rows beyond the last flush are written again; after a full disk some may be there without their numbers.
        beyond = (numbers >= done) | (np.diff(numbers, prepend=-1) <= 0)
        n_rows = int(np.argmax(beyond)) if beyond.any() else n_whole
        for path in growing(self._file):
            self._at(path).resize(n_rows, axis=0)
        unusable = self._at(UNUSABLE)
        n_unusable = int((unusable[:] < done).sum())
        for path in (UNUSABLE, UNUSABLE_REASON):
            self._at(path).resize(n_unusable, axis=0)
        self._powder = {path: read(self._at(path)) for path in (POWDER_HITS, POWDER_MISSES) if path in self._file}
        float(self._at(GAIN)[()])  # close() reads it: what it cannot be is an error now
        self.n_rows, self.events_done = n_rows, done
        self.n_hits = int(hit_rows(self._file).sum())
        copies = self._at(LEARNED)[:]
        for copy in np.flatnonzero(copies[:, 0] == done):
            _, frames, gain = copies[copy]
            pixels, curve = self._at(LEARNED_PIXELS[copy])[:], self._at(LEARNED_CURVE[copy])[:]
            self.learned = LearnedState(None if np.isnan(gain) else float(gain), int(frames), pixels, curve)
            self._saved_copies = int(copy) + 1  # the next one is written over the other

    # Writing

    def append(self, event: Event, peaks: PeakArray, number: int, good: npt.NDArray[np.bool_]) -> bool:
        """Take an event, number in the input; write it if it is to be written. Returns whether it is a hit.

        good : (panel, ss, fs), the mask in force; the first event's is written to the file.
        """
        if self._file is None:
            self._create(event, good)
        event = self._as_stored(event)
        hit = is_hit(peaks, self.hits)
        if hit or self.output.events == "all":
            self.n_cut += len(peaks) > self.hits.max_peaks
            self._rows.append((event, peaks, number))
            if len(self._rows) >= _ROWS_HELD or self._held_bytes() > _BYTES_HELD:
                self._write_rows()
        if self._powder:
            powder = self._powder[POWDER_HITS if hit else POWDER_MISSES]
            np.fmax(powder, event.frame.reshape(powder.shape), out=powder)
        self.n_hits += hit
        self.events_done = number + 1
        return hit

    def _as_stored(self, event: Event) -> Event:
        """The event with its frame in the file's dtype. Raises ValueError for values that the dtype cannot hold."""
        stored = self._at(DATA).dtype if DATA in self._file else self._powder_dtype  # type: ignore[operator]
        if event.frame.dtype == stored or stored is None:
            return event
        with np.errstate(invalid="ignore"):  # of NaN and infinity as integers, which the comparison finds
            frame = event.frame.astype(stored)
        if not np.array_equal(frame, event.frame, equal_nan=event.frame.dtype.kind == "f"):
            raise ValueError(
                f"{event}: its {event.frame.dtype} values do not fit the {stored} images that this CXI was begun with: "
                "find the files of each type in a run of their own"
            )
        return replace(event, frame=frame)

    @property
    def _powder_dtype(self) -> np.dtype[Any] | None:
        return next((powder.dtype for powder in self._powder.values()), None)

    def miss(self, number: int) -> None:
        """Note an event that is no hit: it counts as done."""
        self.events_done = number + 1

    def skip(self, number: int, event: str, reason: str) -> None:
        """Note an event that could not be used: it counts as done, and the file says why it has no row."""
        self._unusable.append((number, reason if event in reason else f"{event}: {reason}"))
        self.events_done = number + 1

    def _at(self, path: str) -> h5py.Dataset:
        """A dataset, open as long as the file."""
        assert self._file is not None
        if path not in self._open:
            try:
                self._open[path] = self._file[path]
            except KeyError as error:
                raise OSError(f"{path} in {self.unfinished} cannot be opened: {first_line(error)}") from error
        return self._open[path]

    def _held_bytes(self) -> int:
        return sum(event.frame.nbytes for event, _, _ in self._rows)

    def _write_rows(self) -> None:
        assert self._file is not None
        if not self._rows:
            return
        first, end = self.n_rows, self.n_rows + len(self._rows)
        rows = [(event, strongest(peaks, self.hits.max_peaks), peaks, number) for event, peaks, number in self._rows]
        n_ss = rows[0][0].frame.shape[1]
        if DATA in self._file:
            data = self._at(DATA)
            data.resize(end, axis=0)
            whole = data.chunks[1:] == data.shape[1:] and not data.filter_ids
            for row, (event, _, _, _) in enumerate(rows, first):
                frame = np.ascontiguousarray(event.frame.reshape(data.shape[1:]), data.dtype)
                if whole:  # straight to disk, past HDF5's chunk cache
                    data.id.write_direct_chunk((row, 0, 0), frame)
                else:
                    data[row] = frame
        if ARTIFACTS in self._file:
            masks = self._at(ARTIFACTS)
            masks.resize(end, axis=0)
            for row, (event, _, _, _) in enumerate(rows, first):
                if event.artifacts is not None:
                    masks[row] = event.artifacts.reshape(masks.shape[1:])
        for column in PEAK_COLUMNS:
            block: npt.NDArray[Any] = np.zeros((len(rows), self.hits.max_peaks), column.dtype)
            for row, (_, kept, _, _) in enumerate(rows):
                block[row, : len(kept)] = column.value(kept, n_ss)
            self._extend(column.path, block)
        for event_column in EVENT_COLUMNS:
            values = [event_column.value(event, peaks, number) for event, _, peaks, number in rows]
            self._extend(event_column.path, np.array(values, event_column.dtype))
        probabilities = np.array([of_peaks(peaks) for _, _, peaks, _ in rows], np.float32)
        for path, of_events in zip(SCREENING_COLUMNS, probabilities.T, strict=True):
            self._extend(path, of_events)
        self._extend(SOURCE, np.array([str(event).encode()[-512:] for event, *_ in rows], "S512"))
        self._extend(N_PEAKS, np.array([len(kept) for _, kept, _, _ in rows], np.int32))
        self.n_rows = end
        self._rows.clear()
        self._check_disk()

    def _extend(self, path: str, values: npt.NDArray[Any]) -> None:
        assert self._file is not None
        dataset = self._at(path)
        dataset.resize(self.n_rows + len(values), axis=0)
        dataset[self.n_rows :] = values

    def _write_unusable(self) -> None:
        if not self._unusable:
            return
        first = len(self._at(UNUSABLE))
        for path, values in (
            (UNUSABLE, np.array([number for number, _ in self._unusable], np.int64)),
            (UNUSABLE_REASON, np.array([text.encode()[:256] for _, text in self._unusable], "S256")),
        ):
            dataset = self._at(path)
            dataset.resize(first + len(values), axis=0)
            dataset[first:] = values
        self._unusable.clear()

    def _write_learned(self, state: LearnedState, shape: tuple[int, ...]) -> None:
        """Save what the finder has learned: for the reader gain and bad pixels, for resume all of it."""
        if state.gain is not None:
            self._at(GAIN)[()] = state.gain
        bad = state.bad_pixels(shape[-1])
        listed = self._at(BAD_PIXELS)
        listed.resize(len(bad), axis=0)
        listed[:] = bad
        copy = self._saved_copies % 2
        for path, values in ((LEARNED_PIXELS[copy], state.pixels), (LEARNED_CURVE[copy], state.curve)):
            self._at(path).resize(len(values), axis=0)
            self._at(path)[:] = values
        self._at(LEARNED)[copy] = (self.events_done, state.frames, np.nan if state.gain is None else state.gain)
        self._saved_copies += 1

    def flush(self, learned: LearnedState | None = None) -> None:
        """Put everything taken so far on disk, whole and readable.

        learned : what the finder has learned from exactly the events taken so far
        """
        self._flushed_state = learned or self._flushed_state
        if self._file is None:
            return
        self._write_rows()
        for path, powder in self._powder.items():
            self._at(path)[...] = powder
        self._write_unusable()
        if learned is not None:
            self._write_learned(learned, self._at(MASK).shape)
        self._file.flush()
        self._at(PROGRESS)[()] = self.events_done  # only after the rows it counts
        self._file.flush()
        self._check_disk()
        if self.n_rows - self._rows_when_opened >= _ROWS_BETWEEN_REOPENING:
            self._let_go()
            self._start_single_writer(self.unfinished)

    def _check_disk(self) -> None:
        """Raise what the disk said to a write; from that write on none was let through."""
        if self._disk is not None and self._disk.error:
            raise OSError(self._disk.error, os.strerror(self._disk.error), str(self.unfinished))

    # Closing

    def close(self) -> None:
        """Finish the file, write the .lst and .geom that go with it, and give it its name.

        The name comes last: whoever sees it finds all three, and a process killed before can be resumed.
        """
        try:
            if self._file is None:
                return
            self.flush()
            hits = np.flatnonzero(hit_rows(self._file))
            gain = float(self._at(GAIN)[()])
            self._let_go()
            self._check_disk()
            if self.output.images != "none":
                write_companions(self.path, self.detector, hits, None if np.isnan(gain) else gain)
            os.replace(self.unfinished, self.path)
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """Leave what was flushed under its unfinished name, for resume; remove it if nothing was.

        Without a finder's learned state what was taken since the last flush is flushed as well; with it, it cannot be:
        the state belongs to the last flush.
        """
        try:
            if self._file is None:
                return
            worth_keeping = self.events_done > 0
            try:
                if self._flushed_state is None:
                    self.flush()
            except OSError:  # a full disk: what was written before stands
                pass
            self._let_go()
            if not worth_keeping:
                self.unfinished.unlink(missing_ok=True)
        finally:
            self._lock.release()

    def _let_go(self) -> None:
        assert self._file is not None
        self._file.close()
        self._open.clear()
        os.close(self._descriptor)
        self._file = None

    @property
    def list_path(self) -> Path:
        """The .lst of the hits."""
        return companion_paths(self.path)[0]

    @property
    def geom_path(self) -> Path:
        """The .geom that fits the CXI."""
        return companion_paths(self.path)[1]

    def report(self) -> list[str]:
        """What was written, and the command that indexes it."""
        lines = [f"wrote {self.path}"]
        if self.output.images == "none":
            return [*lines, "no images were written: indexamajig needs them beside the peaks (--images)"]
        lines.append(f"wrote {self.list_path} and {self.geom_path}; to index:")
        missing = [name for name in ("camera_length", "photon_energy") if getattr(self.detector, name) is None]
        if missing:
            what = " and ".join(name.replace("_", " ") for name in missing)
            lines.append(f"  (the geometry lacks {what}: add to {self.geom_path} first)")
        command = index_command(self.path, self.output.images)
        return [*lines, "", f"  {command}", "", "where the cell is known, -p CELL instead of --no-check-cell"]

    def __enter__(self) -> CxiWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def write_companions(path: Path, detector: Detector, hits: npt.NDArray[np.int64], gain: float | None = None) -> None:
    """Write the .lst of a CXI's hits (rows) and the .geom that fits it.

    gain : ADU a photon that the finder used, for a geometry that has none
    """
    list_path, geom_path = companion_paths(path)
    write_list(list_path, path, hits)
    fitting = cxi_geometry(detector, gain)
    comment = f"Fits {path.name}, written by PeakRT."
    if not has_gain(detector):
        said = "was estimated from the frames" if gain is not None else "is not known: 1 stands for it"
        comment += f"\nThe gain (adu_per_photon) {said}; CrystFEL takes it for the errors of intensities alone."
    _replace_text(geom_path, format_geom(fitting, comment=comment))


def write_list(path: Path, cxi: Path, rows: npt.NDArray[np.int64]) -> None:
    """Write a list of rows of a CXI as indexamajig takes it, whole or not at all."""
    _replace_text(path, "".join(f"{cxi.resolve()} //{row}\n" for row in rows))


def _replace_text(path: Path, text: str) -> None:
    """Write a text file that is there whole or not at all."""
    with whole_file(path) as started:
        started.write_text(text, encoding="utf-8")


def has_gain(detector: Detector) -> bool:
    """Whether every panel's gain stands in the geometry, as CrystFEL demands."""
    keys = ("adu_per_photon", "adu_per_eV")
    whole = detector.adu_per_photon is not None or detector.adu_per_eV is not None
    return whole or all(any(key in panel.settings for key in keys) for panel in detector.panels)


def cxi_geometry(detector: Detector, gain: float | None = None) -> Detector:
    """Geometry of a CXI that CxiWriter writes for a detector.

    gain : ADU a photon for a detector that has none; 1 where that is not known either, since CrystFEL refuses a geometry
        without a gain (it takes it for the errors of integrated intensities)
    """
    slab = for_crystfel(detector.as_slab(DATA))
    mask = (MaskSource(MASK, None, 0, 1),)
    panels = tuple(replace(panel, masks=mask) for panel in slab.panels)
    energy = detector.photon_energy
    return replace(
        slab,
        panels=panels,
        camera_length=_from_cxi(detector.camera_length),
        photon_energy=HeaderValue(PHOTON_ENERGY) if isinstance(energy, HeaderValue) else energy,
        adu_per_photon=slab.adu_per_photon if has_gain(slab) else gain or 1.0,
        settings={**slab.settings, "peak_list": RESULT, "peak_list_type": "cxi"},
    )


def _from_cxi(length: float | HeaderValue | None) -> float | HeaderValue | None:
    return HeaderValue(CAMERA_LENGTH, 1e-3) if isinstance(length, HeaderValue) else length


def strongest(peaks: PeakArray, n: int) -> PeakArray:
    """The n peaks of highest intensity, in their original order."""
    if len(peaks) <= n:
        return peaks
    keep = np.sort(np.argpartition(peaks["intensity"], len(peaks) - n)[len(peaks) - n :])
    return peaks[keep]


def _grow(
    file: h5py.File,
    path: str,
    row: tuple[int, ...],
    dtype: npt.DTypeLike,
    *,
    axes: str = "",
    chunks: tuple[int, ...] | None = None,
    **compression: Any,
) -> None:
    dataset = file.create_dataset(
        path,
        (0, *row),
        dtype,
        maxshape=(None, *row),
        chunks=chunks or ((1, *row) if row else (1024,)),
        fill_time="never" if row else None,
        **compression,
    )
    if axes:
        dataset.attrs["axes"] = axes


def growing(file: h5py.File) -> list[str]:
    """Datasets with one row an event."""
    paths = [column.path for column in (*PEAK_COLUMNS, *EVENT_COLUMNS)] + [*SCREENING_COLUMNS, N_PEAKS, SOURCE]
    return paths + [path for path in (DATA, ARTIFACTS) if path in file]
