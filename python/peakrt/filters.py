"""Compression filters of HDF5 beyond gzip, which hdf5plugin brings."""

from __future__ import annotations

import h5py

from .extras import to_install

#: HDF5's number of bitshuffle, and its options: block size chosen by the filter, LZ4.
BITSHUFFLE, BITSHUFFLE_LZ4 = 32008, (0, 2)


def register_filters() -> None:
    """Make the filters of hdf5plugin known to HDF5, where it is installed."""
    try:
        import hdf5plugin  # noqa: F401  (registers them)
    except ImportError:
        pass  # what needs one says so below; HDF5_PLUGIN_PATH may give it as well


def check_filters(dataset: h5py.Dataset) -> None:
    """Raise OSError, with the remedy, for a dataset that is compressed with a filter that is not here."""
    for number, name in zip(dataset.filter_ids, dataset.filter_names, strict=True):
        if not h5py.h5z.filter_avail(number):
            raise OSError(
                f"{dataset.name} in {dataset.file.filename} is compressed with the HDF5 filter "
                f"{name.split(';')[0]} ({number}), which needs hdf5plugin: {to_install('formats')}"
            )


def check_bitshuffle() -> None:
    """Raise ImportError, with the remedy, where bitshuffle cannot be written."""
    if not h5py.h5z.filter_avail(BITSHUFFLE):
        raise ImportError(f"writing lz4 images needs hdf5plugin: {to_install('formats')}, or choose gzip")


def plugin_folder() -> str:
    """Where the filters lie as plug-ins that any program's HDF5 loads, once HDF5_PLUGIN_PATH names the folder.

    Raises ImportError, with the remedy, where hdf5plugin is not installed.
    """
    try:
        import hdf5plugin
    except ImportError:
        raise ImportError(f"HDF5's filters need hdf5plugin: {to_install('formats')}") from None
    return str(hdf5plugin.PLUGIN_PATH)
