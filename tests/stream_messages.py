"""One message of each kind that frames come by, and how a source reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from karabo_bridge.serializer import serialize

from peakrt.sources.streams import dectris, karabo, lclstreamer, om
from peakrt.sources.streams.arrangement import arrange, arrangement
from peakrt.sources.streams.compression import unpack
from peakrt.sources.streams.records import Images, Wanted
from peakrt_geometry.crystfel import parse_geom

from .conftest import SMALL_GEOM
from .stream_senders import (
    dectris_end,
    dectris_image,
    dectris_start,
    lcls_hdf5,
    om_frame,
    simplon_image,
    simplon_start,
    simplon_stop,
)

SHAPE = (1, 40, 48)
FRAME = np.random.default_rng(3).poisson(5, SHAPE[1:]).astype(np.uint16)
WANTED = Wanted(None, parse_geom(SMALL_GEOM, name="small.geom"))
Decoder = Callable[[Sequence[bytes], Wanted], list[object]]

GEOMETRY = "IP 0 JFROOT 0 0 0 100000 0 0 0 0 0 0\nJFROOT 0 EPIX10KA:V1 0 0 0 0 0 0 0 0 0 0\n"
TRAIN = {"DET": {"image.data": FRAME[None, None], "image.pulseId": np.arange(1), "gain": 3.5}}
VALID: list[tuple[str, Decoder, list[list[bytes]]]] = [
    (
        "dectris",
        dectris.decode,
        [
            [dectris_start(SHAPE[1:], mask=FRAME > 2)],
            *([dectris_image(FRAME, 3, algorithm)] for algorithm in ("", "bslz4", "bszstd")),
            [dectris_end()],
        ],
    ),
    (
        "lclstreamer",
        lclstreamer.decode,
        [
            [simplon_start(FRAME, GEOMETRY)],
            [simplon_image(FRAME, "12")],
            [simplon_stop()],
            *(
                [lcls_hdf5(FRAME[None], how, timestamp=np.array([b"17"]))]
                for how in ("none", "gzip_with_shuffle", "bitshuffle_with_lz4")
            ),
        ],
    ),
    ("karabo", karabo.decode, [[bytes(part) for part in serialize(TRAIN, {"DET": {"timestamp.tid": 9}})]]),
    ("om", om.decode, [[om_frame(FRAME)]]),
]
MESSAGES = [(name, decode, message) for name, decode, messages in VALID for message in messages]


def read(decode: Decoder, message: list[bytes]) -> bool:
    """Decode and unpack as the source does; returns whether it was taken. Anything raised is a defect."""
    try:
        records = decode(message, WANTED)
    except ValueError:
        return False
    for record in records:
        if isinstance(record, Images):
            for packed in record.frames:
                try:
                    shape = packed.shape or SHAPE
                    how = arrangement(shape, SHAPE)
                    frames = arrange(unpack(packed, shape), SHAPE, how)
                except ValueError:
                    continue
                assert all(frame.shape == SHAPE for frame in frames)
    return True
