"""A peak-finding job: mpirun -n 4 python job_peakrt.py FOLDER OUT.npz"""

import sys
import time

import numpy as np
from mpi4py import MPI
from psana import DataSource
from peakrt_plugin.psana2 import peaks_adaptive
from psana.psexp.ds_base import DataSourceBase

DataSourceBase._get_file_info_from_db = lambda self, run: {}  # the files are here: no logbook

world = MPI.COMM_WORLD
source = DataSource(exp="mfxpeakrt", run=7, dir=sys.argv[1], batch_size=1)
run = next(source.runs())
detector = run.Detector("jungfrau", status=True)
mask, stamps, found, seconds = None, [], [], []
for event in run.events():
    frame = detector.raw.calib(event)
    if frame is None:
        continue
    if mask is None:
        mask = detector.raw._mask().astype(np.uint16)
    begin = time.process_time()
    peaks = peaks_adaptive(frame, mask, rank=3, r0=3.0, dr=2.0, nsigm=7.0, npix_min=2, npix_max=30, amax_thr=80.0, atot_thr=120.0, son_min=7.0)  # fmt: skip
    seconds.append(time.process_time() - begin)
    found.append(np.array([peak.parameters() for peak in peaks], np.float32).reshape(-1, 17))
    stamps.append(event.timestamp)

ranks = world.gather((stamps, found, seconds))
if world.rank == 0:
    stamps, found, seconds = (sum(parts, []) for parts in zip(*ranks))
    order = np.argsort(stamps)
    offsets = np.cumsum([0, *(len(found[k]) for k in order)])
    peaks = np.concatenate([found[k] for k in order])
    np.savez(
        sys.argv[2], timestamp=np.array(stamps)[order], peaks=peaks, offsets=offsets, seconds=np.array(seconds)[order]
    )
    print(
        f"{len(stamps)} events, {len(peaks)} peaks, {np.mean(seconds) * 1e3:.1f} ms of peak finding an event; by rank {[len(r[0]) for r in ranks]}"
    )
