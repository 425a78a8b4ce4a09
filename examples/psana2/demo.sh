#!/bin/sh
# Usage: demo.sh BIN OUT: BIN holds python, mpirun and peakrt; everything is written to OUT.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PATH=$(cd "$1" && pwd):$PATH
export PATH
mkdir -p "$2" && cd "$2"
rm -rf run ./*.npz peaks* port
python "$here/write_run.py" run "${EVENTS:-24}"
python "$here/calibration.py" run port & service=$!
trap 'kill $service' EXIT
while [ ! -s port ]; do sleep 0.1; done
LCLS_CALIB_HTTP=http://127.0.0.1:$(cat port)
export LCLS_CALIB_HTTP
job="mpirun --allow-run-as-root --oversubscribe --mca mpi_yield_when_idle 1 --mca osc ^ucx -n 4"
echo "psana:";         $job python "$here/job_psana.py" run psana.npz
echo "peakrt compat:"; $job python "$here/job_peakrt.py" run compat.npz
echo "peakrt model:";  PEAKRT_MODE=model PEAKRT_GEOMETRY=run/jungfrau.geom $job python "$here/job_peakrt.py" run model.npz
python "$here/compare.py" run psana.npz compat.npz model.npz
echo "peakrt find:"
$job peakrt find exp=mfxpeakrt,run=7,dir=run --detector jungfrau --camera-length 0.12 --gain 9.5 -o peaks.cxi
if command -v indexamajig >/dev/null; then
  for finder in v3r3 network; do
    [ -e "$finder.cxi" ] || $job peakrt find exp=mfxpeakrt,run=7,dir=run --detector jungfrau --camera-length 0.12 --finder $finder -o $finder.cxi
    peakrt-lab evaluate $finder.cxi -p run/lysozyme.cell --frames "${EVENTS:-24}"
  done
else
  echo "indexamajig is not on PATH: peaks.cxi, peaks.lst and peaks.geom are for it"
fi
