#!/bin/sh
# Usage: demo.sh BIN OUT: BIN holds python, mpirun and peakrt; everything is written to OUT.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PATH=$(cd "$1" && pwd):$PATH
export PATH
mkdir -p "$2" && cd "$2"
rm -rf run ./*.npz peaks* v3r3* port
python "$here/write_run.py" run "${EVENTS:-24}"
python "$here/calibration.py" run port & service=$!
trap 'kill $service' EXIT
while [ ! -s port ]; do sleep 0.1; done
LCLS_CALIB_HTTP=http://127.0.0.1:$(cat port)
export LCLS_CALIB_HTTP
job="mpirun --allow-run-as-root --oversubscribe --mca mpi_yield_when_idle 1 --mca osc ^ucx -n 4"
echo "psana:";         $job python "$here/job_psana.py" run psana.npz
echo "peakrt compat:"; $job python "$here/job_peakrt.py" run compat.npz
for k in 1 2; do
  echo "peakrt model, run $k:"; PEAKRT_MODE=model $job python "$here/job_peakrt.py" run model$k.npz
done
python "$here/compare.py" run psana.npz compat.npz model1.npz model2.npz
echo "peakrt find:"
find="$job peakrt find exp=mfxpeakrt,run=7,dir=run --detector jungfrau --camera-length 0.12"
$find -o peaks.cxi
if command -v indexamajig >/dev/null; then
  $find --finder v3r3 -o v3r3.cxi
  for finder in v3r3 peaks; do
    peakrt-lab evaluate $finder.cxi -p run/lysozyme.cell --frames "${EVENTS:-24}"
  done
else
  echo "indexamajig is not on PATH: peaks.cxi, peaks.lst and peaks.geom are for it"
fi
