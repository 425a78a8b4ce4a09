"""Sends the frames of a run as a detector would, in DECTRIS's Stream V2: python send.py RUN.cxi [FRAMES_A_SECOND [ADDRESS]]

It waits at its address, tcp://127.0.0.1:31001 unless another is given, for one program to connect, sends all frames, and ends.
"""

import sys
import time

import cbor2
import h5py
import numpy as np
import zmq

SERIES = 7
#: RFC 8746: tags of little-endian arrays of numbers.
TAGS = {"uint16": 69, "uint32": 70, "int16": 77, "int32": 78, "float32": 85}


def image(frame: np.ndarray, number: int) -> bytes:
    """Message with one image, not compressed."""
    pixels = cbor2.CBORTag(40, [list(frame.shape), cbor2.CBORTag(TAGS[frame.dtype.name], frame.tobytes())])
    return cbor2.dumps({"type": "image", "series_id": SERIES, "image_id": number, "data": {"threshold_1": pixels}})


def start(frame: np.ndarray, count: int) -> bytes:
    """Message before the first image."""
    height, width = frame.shape
    return cbor2.dumps(
        {
            "type": "start", "series_id": SERIES, "number_of_images": count, "channels": ["threshold_1"],
            "image_size_x": width, "image_size_y": height, "image_dtype": frame.dtype.name,
        }
    )  # fmt: skip


run, rate, address = [*sys.argv[1:], *("", "10", "tcp://127.0.0.1:31001")[len(sys.argv) - 1 :]]
with h5py.File(run) as file, zmq.Context() as context, context.socket(zmq.PUSH) as socket:
    frames = file["/entry_1/data_1/data"]
    socket.bind(address)
    print(f"waiting for a program at {address}", flush=True)
    socket.send(start(frames[0], len(frames)))
    for number, frame in enumerate(frames):
        time.sleep(1 / float(rate))
        socket.send(image(frame, number))
    socket.send(cbor2.dumps({"type": "end", "series_id": SERIES}))
    print(f"sent {len(frames)} frames")
