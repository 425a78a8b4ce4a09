"""Every decoder given garbage, cut messages and flipped bytes: a ValueError or a record, and nothing else."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("zmq", reason="needs the extra [live]")
pytest.importorskip("msgpack_numpy", reason="needs msgpack-numpy, which karabo-bridge brings")
pytest.importorskip("karabo_bridge.serializer", reason="needs karabo-bridge")

from peakrt.sources.streams import om

from .stream_messages import FRAME, MESSAGES, VALID, WANTED, Decoder, read
from .stream_senders import om_frame


@pytest.mark.parametrize(("name", "decode", "message"), MESSAGES, ids=[f"{m[0]}{k}" for k, m in enumerate(MESSAGES)])
def test_valid_messages_are_read(name: str, decode: Decoder, message: list[bytes]) -> None:
    assert decode(message, WANTED)


@pytest.mark.parametrize(("name", "decode", "messages"), VALID, ids=[v[0] for v in VALID])
def test_garbage(name: str, decode: Decoder, messages: list[list[bytes]]) -> None:
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.sampled_from(["", "c", "m", "h"]))
    def check(parts: list[bytes], letter: str) -> None:
        head = {"": b"", "c": b"c", "m": b"m", "h": b"\x89HDF\r\n\x1a\n"}[letter]
        read(decode, [head + parts[0], *parts[1:]])

    check()


@pytest.mark.parametrize(("name", "decode", "message"), MESSAGES, ids=[f"{m[0]}{k}" for k, m in enumerate(MESSAGES)])
def test_damaged_messages(name: str, decode: Decoder, message: list[bytes]) -> None:
    """Flipped bytes anywhere, mostly in the head and in what follows it, and cuts."""
    part = st.integers(0, len(message) - 1)
    places = st.one_of(st.integers(0, 600), st.integers(0, 10**6))
    damage = st.tuples(part, places, st.integers(0, 255))

    @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(damage, min_size=1, max_size=6), st.none() | st.tuples(part, places))
    def check(flips: list[tuple[int, int, int]], cut: tuple[int, int] | None) -> None:
        parts = [bytearray(p) for p in message]
        for which, place, value in flips:
            if parts[which]:
                parts[which][place % len(parts[which])] = value
        if cut is not None:
            del parts[cut[0]][cut[1] % (len(parts[cut[0]]) + 1) :]
        read(decode, [bytes(p) for p in parts])

    check()


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xa1\x64type" + b"\x80" * 2_000_000,
        b"\xa1\x64type\x9f" + b"\x80" * 2_000_000 + b"\xff",
        b"\xa1\x64type\x9b\x00\x00\x00\x00\x00\x1e\x84\x80" + b"\xa0" * 2_000_000,
        b"\xbf" + b"\x61a\x80" * 700_000 + b"\xff",
        b"\x81\xa4type" + b"\x90" * 2_000_000,
        b"\xdd\x00\x1e\x84\x80" + b"\x90" * 2_000_000,
        b"\x92" * 2_000_000,
    ],
)
def test_many_small_items_take_no_memory(bomb: bytes) -> None:
    for _, decode, _ in VALID:
        for message in (bomb, b"c" + bomb):
            tracemalloc.start()
            read(decode, [message])
            read(decode, [message, message])
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 60e6


def test_nothing_is_unpickled_where_a_host_has_patched_msgpack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """OM has msgpack-numpy replace msgpack's functions, by ones that unpickle what a message says."""
    import msgpack
    import msgpack_numpy

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return open, (str(tmp_path / "sprung"), "w")

    array = {b"nd": True, b"type": "|O8", b"kind": b"O", b"shape": (1,), b"data": pickle.dumps(Trap())}
    message, honest = msgpack.packb({"detector_data": array}), om_frame(FRAME)
    for name in ("Packer", "Unpacker", "load", "loads", "dump", "dumps", "pack", "packb", "unpack", "unpackb"):
        monkeypatch.setattr(msgpack, name, getattr(msgpack, name))  # put back at the end
    msgpack_numpy.patch()
    with pytest.raises(ValueError, match="not an array of numbers"):
        om.decode([message], WANTED)
    assert not (tmp_path / "sprung").exists()
    assert len(om.decode([honest], WANTED)) == 1
