"""Masks in .npy files and HDF5: what numpy wrote is read, and whatever is something else is refused in one line."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peakrt.commands.options import read_mask
from peakrt.npy import read_npy


@pytest.mark.parametrize("kind", ["?", "u1", "<i4", ">i4", "<f8"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4), (0, 3)])
def test_what_numpy_wrote_is_read(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(kind)
    for written in (array, np.asfortranarray(array)):
        np.save(tmp_path / "a.npy", written)
        found = read_npy(tmp_path / "a.npy")
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"", None, "numpy.save"),
        (b"(2, 8)", b"(2, 9)", "holds 16 bytes"),
        (b"(2, 8)", b"(1<<9)", "numpy.save"),
        (b"(2, 8)", b"(2,-8)", "array of numbers"),
        (b"(2, 8)", b"(9**9)", "numpy.save"),
        (b"'|b1'", b"'|O' ", "array of numbers"),
        (b"'|b1'", b"[1,2]", "array of numbers"),
        (b"{", b"[", "numpy.save"),
        (b"}", b" ", "numpy.save"),
        (b"\x01\x00", b"\x09\x00", "numpy.save"),
    ],
)
def test_what_is_no_array_is_refused(tmp_path: Path, old: bytes, new: bytes | None, message: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.ones((2, 8), bool))
    path.write_bytes(b"" if new is None else path.read_bytes().replace(old, new, 1))
    with pytest.raises(ValueError, match=message) as raised:
        read_npy(path)
    assert "a.npy" in str(raised.value)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_array_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.npy"
    for head in (
        b"",
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x01\x00\x40\x00{'descr': '|u1', 'fortran_order': False, 'shape': (",
    ):
        path.write_bytes(head + content)
        try:
            assert read_npy(path).dtype.kind in "buif"
        except ValueError:
            pass


def test_a_mask_of_hdf5_is_a_dataset_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["good"], file["text"] = np.ones((2, 8), bool), "nine"
        file.create_dataset("vast", (10**12, 256), "u1", chunks=(1, 256))
        file["lost"] = h5py.SoftLink("/not/there")
        file.create_group("group")
    assert read_mask(f"{path}:/good").sum() == 16
    for name in ("text", "vast", "lost", "group", "missing"):
        with pytest.raises(ValueError, match=r"m\.h5"):
            read_mask(f"{path}:/{name}")
    with pytest.raises(ValueError, match="needs the path"):
        read_mask(str(path))
