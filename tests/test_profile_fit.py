"""Fitted profiles: against lmfit on the same windows, against what was planted, and what cannot be fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.profile_fit import by_lmfit, model
from peakrt.peaks import PEAK
from peakrt_lab.profile_fit import (
    FEW_PIXELS,
    FITTED,
    PARAMETERS,
    fit_profiles,
    label_pixels,
    profile_of,
)


def planted(
    n: int, seed: int, *, apart: int = 20, gain: float = 3.0
) -> tuple[np.ndarray, np.ndarray, list[dict[str, float]]]:
    """A frame in ADU with profiles of known parameters in a row, peaks as a finder gives them, and the parameters."""
    rng = np.random.default_rng(seed)
    expected, peaks, truths = np.full((1, 40, 40 + apart * n), 4.0), np.zeros(n, PEAK), []
    ss, fs = np.mgrid[:40, : expected.shape[2]].astype(float)
    for k in range(n):
        middle = 20, 20 + apart * k
        sigma, gamma = rng.uniform(0.7, 1.5, 2), rng.uniform(0.7, 1.5, 2)
        p = dict(zip(PARAMETERS, [
            rng.uniform(50, 2000), rng.uniform(0.1, 0.9), *rng.uniform(-0.5, 0.5, 2), *sigma, *gamma, 0, 0, 0], strict=True))  # fmt: skip
        near = np.s_[middle[0] - 9 : middle[0] + 10, middle[1] - 9 : middle[1] + 10]
        expected[0][near] += model(p, ss[near] - middle[0], fs[near] - middle[1])
        truths.append(p | {"level": 4.0})
        peaks["ss"][k], peaks["fs"][k] = middle[0] + p["centre_ss"], middle[1] + p["centre_fs"]
    peaks["ss"] += rng.normal(0, 0.1, n)
    peaks["fs"] += rng.normal(0, 0.1, n)
    return gain * rng.poisson(expected).astype(np.float32), peaks, truths


def test_fits_are_those_of_lmfit() -> None:
    pytest.importorskip("lmfit")
    frame, peaks, _ = planted(25, 3)
    fits = fit_profiles(frame, peaks, gain=3.0)
    assert (fits["end"] == FITTED).all()
    for fit, peak in zip(fits, peaks, strict=True):
        middle = round(float(peak["ss"])), round(float(peak["fs"]))
        counts = frame[0, middle[0] - 4 : middle[0] + 5, middle[1] - 4 : middle[1] + 5] / 3.0
        theirs = by_lmfit(counts, (float(peak["ss"]) - middle[0], float(peak["fs"]) - middle[1]))
        assert fit["chi2"] * (81 - 11) <= theirs.chisqr * (1 + 1e-4)  # ours is at least as deep a minimum
        for name in PARAMETERS:
            error = fit[f"{name}_error"]
            if np.isfinite(error) and fit["chi2"] * 70 > theirs.chisqr * (1 - 1e-4):
                assert abs(fit[name] - theirs.params[name].value) < max(0.3 * error, 1e-3), name


def test_what_was_planted_is_found_within_its_errors() -> None:
    frame, peaks, truths = planted(400, 5)
    fits = fit_profiles(frame, peaks, gain=3.0)
    good = fits["end"] == FITTED
    assert good.mean() > 0.98
    for name in ("amplitude", "centre_ss", "centre_fs", "level"):
        pulls = (fits[name] - [truth[name] for truth in truths]) / fits[f"{name}_error"]
        pulls = pulls[good & np.isfinite(pulls)]
        if name in ("centre_ss", "centre_fs"):
            middle = {"centre_ss": "middle_ss", "centre_fs": "middle_fs"}[name]
            shift = fits[middle][good] - np.round(fits[middle][good])
            assert (shift == 0).all()
            moved = np.array([20 if name == "centre_ss" else 20 * (k + 1) for k in range(400)])
            pulls = (fits[middle] + fits[name] - moved - [truth[name] for truth in truths]) / fits[f"{name}_error"]
            pulls = pulls[good & np.isfinite(pulls)]
            assert np.sqrt(np.median(pulls**2)) / 0.6745 == pytest.approx(1, abs=0.15), name
        assert abs(np.median(pulls)) < 0.5, name
    assert np.median(fits["chi2"]) == pytest.approx(1, abs=0.2)
    assert np.median(fits["deviance"]) == pytest.approx(1, abs=0.25)


def test_neighbours_do_not_fit_the_same_light() -> None:
    """Two peaks 5 pixels apart, and the same two alone: each pixel is the nearer one's."""
    frame, peaks, truths = planted(2, 11, apart=5)
    fits = fit_profiles(frame, peaks, gain=3.0)
    assert (fits["pixels"] < 81).all()
    assert fits["pixels"].sum() <= 9 * (9 + 5)
    for fit, truth, column in zip(fits, truths, (20, 25), strict=True):
        assert fit["middle_fs"] + fit["centre_fs"] == pytest.approx(column + truth["centre_fs"], abs=0.15)
    labels = label_pixels(fits, frame.shape)
    assert set(np.unique(labels)) == {0, 1, 2}


def test_labels_are_the_pixels_above_half_height() -> None:
    frame, peaks, _ = planted(30, 8)
    fits = fit_profiles(frame, peaks, gain=3.0)
    labels = label_pixels(fits, frame.shape, most_chi2=5)
    ss, fs = np.indices(frame.shape[1:])
    expected = np.zeros(frame.shape, int)
    for k, fit in enumerate(fits):
        if fit["end"] != FITTED or fit["chi2"] > 5:
            continue
        profile = profile_of(fits[k : k + 1], ss[None], fs[None])[0]
        window = (abs(ss - fit["middle_ss"]) <= 4) & (abs(fs - fit["middle_fs"]) <= 4)
        expected[0][(profile >= 0.5 * fit["amplitude"]) & window] = k + 1
    np.testing.assert_array_equal(labels, expected)
    assert len(np.unique(label_pixels(fits, frame.shape, most_chi2=0.5))) < len(np.unique(labels))


def test_windows_at_edges_bad_pixels_and_nan_are_cut() -> None:
    frame, peaks, _ = planted(3, 2)
    mask = np.ones(frame.shape, bool)
    mask[0, 22:25, 16:25] = False
    frame[0, 16:25, 36:45] = np.nan
    peaks["ss"], peaks["fs"] = [20, 20, 0], [20, 40, 60]
    fits = fit_profiles(frame, peaks, gain=3.0, mask=mask)
    assert fits["pixels"].tolist() == [81 - 27, 0, 9 * 5]
    assert fits["end"][1] == FEW_PIXELS
    asics = np.array([[0, 0, 19, 0, 100], [0, 19, 40, 0, 21], [0, 19, 40, 21, 100]], np.int32)
    assert fit_profiles(frame, peaks, gain=3.0, mask=mask, asics=asics)["pixels"].tolist() == [3 * 5, 0, 9 * 5]
    assert fit_profiles(frame, peaks[:0], gain=3.0).shape == (0,)


def test_any_pixels_end_in_numbers() -> None:
    """Whatever is in the windows: constants, steps, negative numbers, huge numbers."""
    rng = np.random.default_rng(4)
    frames = [np.zeros((1, 20, 20)), np.full((1, 20, 20), 1e9), rng.normal(0, 1e6, (1, 20, 20)), -np.ones((1, 20, 20))]
    frames.append(np.where(np.indices((1, 20, 20))[1] < 10, 0.0, 1e4))
    peaks = np.zeros(1, PEAK)
    peaks["ss"] = peaks["fs"] = 10
    for frame in frames:
        (fit,) = fit_profiles(frame, peaks, gain=1.0)
        assert all(np.isfinite(fit[name]) for name in (*PARAMETERS, "chi2", "deviance"))
        assert 0.2 <= fit["sigma_ss"] <= 6
        assert 0 <= fit["eta"] <= 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gain": 0.0}, "gain is 0"),
        ({"gain": np.nan}, "gain"),
        ({"gain": 1.0, "radius": 0}, "radius"),
        ({"gain": 1.0}, "not on the"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], said: str) -> None:
    peaks = np.zeros(1, PEAK)
    peaks["ss"] = 100
    with pytest.raises(ValueError, match=said):
        fit_profiles(np.zeros((1, 10, 10)), peaks, **options)  # type: ignore[arg-type]


@pytest.mark.realdata
def test_peaks_of_a_real_frame_are_fitted(shared: Path) -> None:
    """Thaumatin on a Pilatus, which counts photons: ordinary peaks, and what the profile says of their size."""
    from peakrt import PeakFinder
    from peakrt.sources import open_source

    (frame,) = list((shared / "thaumatin_pilatus6M").glob("thau_3_2_0001.cbf*"))
    source = open_source([str(frame)])
    event = next(iter(source.events()))
    peaks = PeakFinder(geometry=source.detector)(event.frame, event.mask)
    fits = fit_profiles(event.frame, peaks, gain=1.0, mask=event.mask)
    good = fits["end"] == FITTED
    assert good.mean() > 0.9
    strong = good & (peaks["snr"] > 10)
    shift = np.hypot(
        fits["middle_ss"] + fits["centre_ss"] - peaks["ss"], fits["middle_fs"] + fits["centre_fs"] - peaks["fs"]
    )
    assert np.median(shift[strong]) < 0.2  # 0.09 to 0.17 on the frames of this scan


def test_the_command_fits_the_peaks_of_a_cxi(run_file: Path, tmp_path: Path) -> None:
    import h5py

    from peakrt.cli import main as find
    from peakrt_lab.cli import main as lab

    out, fits = tmp_path / "out.cxi", tmp_path / "fits.h5"
    assert find(["find", str(run_file), "-g", str(run_file.with_suffix(".geom")), "-o", str(out)]) == 0
    assert lab(["fit", str(out), "-o", str(fits)]) == 0
    with h5py.File(fits) as file, h5py.File(out) as cxi:
        counts = cxi["/entry_1/result_1/nPeaks"][:]
        np.testing.assert_array_equal(np.bincount(file["row"][:], minlength=len(counts)), counts)
        ss = cxi["/entry_1/result_1/peakYPosRaw"][file["row"][:].tolist()[0]][: counts[0]]
        good = file["end"][: counts[0]] == FITTED
        panel = file["panel"][: counts[0]]
        fitted = file["middle_ss"][: counts[0]] + file["centre_ss"][: counts[0]] + 128 * panel
        assert good.mean() > 0.7
        assert np.median(abs(fitted - ss)[good]) < 0.2
    assert lab(["fit", str(out), "-o", str(fits)]) == 1
