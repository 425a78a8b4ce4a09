"""Slow, obvious twins of the native kernels: the specification in numpy and Python."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

F = np.float32


def radial_thresholds(
    frame: np.ndarray, mask: np.ndarray, radius: np.ndarray, min_snr: float, adc: float
) -> tuple[np.ndarray, np.ndarray]:
    """Threshold and mean of each radial bin after five clipping passes, summed in raster order in float32."""
    bins = np.rint(radius).astype(int)
    n = int(np.ceil(radius.max())) + 1
    high, low, mean = np.full(n, 1e9, F), np.full(n, -1e9, F), np.zeros(n, F)
    largest, least = np.finfo(F).max, np.finfo(F).tiny
    for _ in range(5):
        new_high, new_low = high.copy(), low.copy()
        for b in range(n):
            values = frame[(bins == b) & mask].astype(F)
            values = values[(values < high[b]) & (values > low[b])]
            if len(values) == 0:
                mean[b], new_high[b], new_low[b] = 0, largest, least
                continue
            total = np.add.accumulate(values, dtype=F)[-1]
            squares = np.add.accumulate(values * values, dtype=F)[-1]
            mean[b] = total / F(len(values))
            sigma = squares / F(len(values)) - mean[b] * mean[b]
            sigma = np.sqrt(sigma) if sigma >= 0 else sigma
            new_high[b], new_low[b] = mean[b] + F(min_snr) * sigma, mean[b] - F(min_snr) * sigma
            new_high[b] = max(new_high[b], F(adc))
        high, low = new_high, new_low
    return high, mean


def peakfinder8(frame: np.ndarray, mask: np.ndarray, radius: np.ndarray, **o: Any) -> np.ndarray:
    """peakfinder8 of one ASIC: rows of ss, fs, intensity, npix, max, background, noise, snr. Exact but for rounding."""
    threshold, mean = radial_thresholds(frame, mask, radius, o["min_snr"], o["adc_threshold"])
    bins = np.rint(radius).astype(int)
    above = mask & (frame.astype(F) > threshold[bins]) & np.isfinite(frame)
    seen = np.zeros(frame.shape, bool)
    rows = []
    for seed in zip(*np.nonzero(above), strict=True):
        on_edge = min(seed) < 1 or seed[0] >= frame.shape[0] - 1 or seed[1] >= frame.shape[1] - 1
        if on_edge or seen[seed]:
            continue
        group = flood(above, seen, seed)
        if not o["min_pixels"] <= len(group) <= o["max_pixels"]:
            continue
        at = tuple(np.array(group).T)
        raw = frame[at].astype(float)
        weight = frame[at].astype(F) - mean[bins[at]]
        # in float32 and in order, for a centroid half-way between two pixels
        sums = [np.add.accumulate(weight * factor.astype(F), dtype=F)[-1] for factor in (np.ones(len(raw)), *at)]
        centre = np.rint([sums[1] / sums[0], sums[2] / sums[0]]).astype(int)
        ring = ring_values(frame, above, mask, threshold[bins], centre, 2 * o["background_radius"])
        background, noise = ring_noise(ring) if len(ring) else (float(mean[bins[tuple(centre)]]), 0.01)
        total, top = (raw - background).sum(), (raw - background).max()
        snr = total / noise if noise > 1e-10 else 0
        if snr < o["min_snr"] or top < max(0, ring.max() if len(ring) else 0) - background:
            continue
        rows.append(
            (
                (raw * at[0]).sum() / raw.sum(),
                (raw * at[1]).sum() / raw.sum(),
                total,
                len(group),
                top,
                background,
                noise,
                snr,
            )
        )
    return np.array(rows).reshape(-1, 8)


def flood(above: np.ndarray, seen: np.ndarray, seed: tuple[int, int]) -> list[tuple[int, int]]:
    """8-connected pixels of above from a seed."""
    group, queue = [], deque([seed])
    seen[seed] = True
    while queue:
        ss, fs = queue.popleft()
        group.append((ss, fs))
        for s in range(max(0, ss - 1), min(above.shape[0], ss + 2)):
            for f in range(max(0, fs - 1), min(above.shape[1], fs + 2)):
                if above[s, f] and not seen[s, f]:
                    seen[s, f] = True
                    queue.append((s, f))
    return group


def ring_noise(values: np.ndarray) -> tuple[float, float]:
    """Mean and scatter, summed one by one in float32: the scatter is a small difference of large sums."""
    values = values.astype(F)
    mean = np.add.accumulate(values, dtype=F)[-1] / F(len(values))
    variance = np.add.accumulate(values * values, dtype=F)[-1] / F(len(values)) - mean * mean
    return float(mean), float(np.sqrt(variance)) if variance >= 0 else 0.01


def ring_values(
    frame: np.ndarray,
    above: np.ndarray,
    mask: np.ndarray,
    threshold: np.ndarray,
    centre: np.ndarray,
    reach: int,
) -> np.ndarray:
    """Good values below threshold in the disc around a group, its far rims left out as the original does."""
    values = []
    for d_ss in range(-reach, reach):
        for d_fs in range(-reach, reach):
            ss, fs = centre[0] + d_ss, centre[1] + d_fs
            inside = 0 <= ss < frame.shape[0] and 0 <= fs < frame.shape[1] and d_ss**2 + d_fs**2 <= reach**2
            if inside and mask[ss, fs] and frame[ss, fs] < threshold[ss, fs]:
                values.append(float(frame[ss, fs]))
    return np.array(values)


def line_extrema(data: np.ndarray, good: np.ndarray, rank: int, sign: int) -> np.ndarray:
    """psana's extrema along a line: good, strictly beyond the next pixel, unbeaten within rank, the first of equals."""
    found = np.zeros(len(data), bool)
    values = [sign * int(v) if data.dtype.kind in "iu" else sign * v for v in data]
    last = -rank - 1
    for c in range(len(data)):
        if not good[c] or (c + 1 < len(data) and not values[c] > values[c + 1]) or c - last <= rank:
            continue
        window = [values[k] for k in range(max(0, c - rank), min(len(data), c + rank + 1)) if good[k]]
        if max(window) <= values[c]:
            found[c], last = True, c
    return found


def v3r3(
    data: np.ndarray,
    mask: np.ndarray,
    *,
    rank: int,
    r0: float,
    dr: float,
    nsigm: float,
    son_min: float,
    npix: tuple[int, int],
) -> list[tuple[Any, ...]]:
    """psana's v3r3: rows of ss, fs, npix, max, sum, mean, rms, son, min_ss, max_ss, min_fs, max_fs."""
    n_ss, n_fs = data.shape
    row, column, low = (np.zeros(data.shape, bool) for _ in range(3))
    for ss in range(n_ss):
        row[ss] = line_extrema(data[ss], mask[ss], rank, 1)
        low[ss] |= line_extrema(data[ss], mask[ss], rank, -1)
    for fs in range(n_fs):
        column[:, fs] = line_extrema(data[:, fs], mask[:, fs], rank, 1)
        low[:, fs] |= line_extrema(data[:, fs], mask[:, fs], rank, -1)
    usable = mask & ~(row | column | low)
    outer = F(r0) + F(dr)
    rows = []
    for ss, fs in zip(*np.nonzero(row & column), strict=True):
        box = np.s_[max(0, ss - rank) : ss + rank + 1, max(0, fs - rank) : fs + rank + 1]
        if (data[box] > data[ss, fs])[mask[box]].any():
            continue
        d = np.hypot(*np.ogrid[-ss : n_ss - ss, -fs : n_fs - fs])
        values = data[usable & (d >= F(r0)) & (d <= outer)].astype(float)
        mean, rms = (
            (values.mean(), np.sqrt(max(0.0, (values**2).mean() - values.mean() ** 2))) if len(values) else (0.0, 0.0)
        )
        level = mean + float(F(nsigm)) * rms
        level = int(level) if data.dtype.kind in "iu" else data.dtype.type(level)
        in_box = np.zeros(data.shape, bool)
        in_box[box] = mask[box] & (data[box] >= level)
        group = four_connected(in_box, (ss, fs))
        if not npix[0] <= len(group) <= npix[1]:
            continue
        above = np.array([float(data[at]) - mean for at in group])
        noise = rms * np.sqrt(len(group))
        son = above.sum() / noise if noise > 0 else 0.0
        if F(son) < F(son_min) or F(float(data[ss, fs]) - mean) < 0 or F(above.sum()) < 0:
            continue
        s, f = np.array(group).T
        rows.append(
            (
                ss,
                fs,
                len(group),
                float(data[ss, fs]) - mean,
                above.sum(),
                mean,
                rms,
                son,
                s.min(),
                s.max(),
                f.min(),
                f.max(),
            )
        )
    return rows


def four_connected(inside: np.ndarray, seed: tuple[int, int]) -> list[tuple[int, int]]:
    """4-connected pixels of inside from a seed, which may itself be outside."""
    if not inside[seed]:
        return []
    group, stack, seen = [], [seed], {seed}
    while stack:
        ss, fs = stack.pop()
        group.append((ss, fs))
        for at in ((ss + 1, fs), (ss - 1, fs), (ss, fs + 1), (ss, fs - 1)):
            if at not in seen and 0 <= at[0] < inside.shape[0] and 0 <= at[1] < inside.shape[1] and inside[at]:
                seen.add(at)
                stack.append(at)
    return group


# The proposer


def _samples(bins: np.ndarray, mask: np.ndarray, number: int) -> np.ndarray:
    """Pixels of a bin that the statistics look at: 128, evenly along its raster order, and of these the good ones."""
    pixels = np.flatnonzero(bins.ravel() == number)
    listed = samples_of_bin(pixels, mask.ravel()[pixels] != 0, 128)
    return listed[listed >= 0]


def sigma_units(
    frame: np.ndarray, mask: np.ndarray, bins: np.ndarray, gain: float, *, radial: bool, high_clip: float = 4
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, the noise in photons squared, and which pixels count."""
    n = int(np.ceil(bins.max())) + 1
    whole = np.rint(bins).astype(int)
    values = [frame.ravel()[_samples(whole, mask, b)].astype(F) for b in range(n)]
    low, high = np.full(n, -1e30), np.full(n, 1e30)
    for _ in range(5):
        kept = [v[(v >= low[b]) & (v <= high[b])].astype(float) for b, v in enumerate(values)]
        mean, sigma = np.zeros(n), np.full(n, np.nan)
        for b in range(n):
            reach = 1 if radial else 0
            while radial and reach < 12 and sum(map(len, kept[max(0, b - reach) : b + reach + 1])) < 500:
                reach += 1
            pool = np.concatenate(kept[max(0, b - reach) : b + reach + 1])
            if len(pool) >= 12:
                mean[b], sigma[b] = pool.mean(), pool.std()
        low, high = mean - 4 * sigma, mean + np.maximum(high_clip * sigma, 3 * gain)
        low[np.isnan(sigma)], high[np.isnan(sigma)] = 1e30, -1e30
    trusted = np.maximum(sigma, 0.1 * gain)
    with np.errstate(invalid="ignore"):
        z = (frame.astype(float) - mean[whole]) / trusted[whole]
    good = mask & np.isfinite(z) & (np.abs(z) < 1e9)
    return np.where(good, z, 0), np.where(np.isnan(trusted), 1, (trusted / gain) ** 2)[whole], good


def local_mean(z: np.ndarray, good: np.ndarray, mask: np.ndarray, clip: float = 4) -> np.ndarray:
    """Mean of z, clipped, over 3 x 3 tiles of 8 x 8 pixels of one ASIC."""
    n_ss, n_fs = -(-z.shape[0] // 8), -(-z.shape[1] // 8)
    total, count = np.zeros((n_ss + 2, n_fs + 2)), np.zeros((n_ss + 2, n_fs + 2))
    for r in range(n_ss):
        for c in range(n_fs):
            tile = np.s_[8 * r : 8 * r + 8, 8 * c : 8 * c + 8]
            total[r + 1, c + 1] = np.clip(z[tile], -clip, clip)[good[tile]].sum()
            count[r + 1, c + 1] = mask[tile].sum()
    out = np.zeros(z.shape)
    for r in range(n_ss):
        for c in range(n_fs):
            n = count[r : r + 3, c : c + 3].sum()
            out[8 * r : 8 * r + 8, 8 * c : 8 * c + 8] = total[r : r + 3, c : c + 3].sum() / n if n > 9 else 0
    return out


def deviance(u: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Signed root of the Poisson deviance of u photons above b."""
    b = np.maximum(b, 1e-3)
    n = np.maximum(u + b, 0)
    d = np.where(n > 0, n * np.log(np.maximum(n, 1e-30) / b), 0) - u
    return np.where(u > 0, 1, -1) * np.sqrt(np.maximum(2 * d, 0))


def box_sum(z: np.ndarray, reach: int) -> np.ndarray:
    """Sum over a square around each pixel; 0 beyond the edges."""
    padded = np.pad(z, reach)
    around = range(2 * reach + 1)
    return sum(padded[i : i + z.shape[0], j : j + z.shape[1]] for i in around for j in around)


def snr(u: np.ndarray, b: np.ndarray) -> np.ndarray:
    """u photons above b over their noise."""
    return np.maximum(u, 0) / np.sqrt(np.maximum(u, 0) + b + 0.5)


def propose(
    frame: np.ndarray,
    mask: np.ndarray,
    bins: np.ndarray,
    gain: float,
    noise: tuple[float, float],
    *,
    radial: bool,
    crowded: bool = False,
) -> tuple[dict[tuple[int, int], float], np.ndarray]:
    """Candidates of one ASIC, each with the margin of the closest decision about it; and z above the local mean.

    Places that only just fail are there with a margin below 0.
    """
    z, photons, good = sigma_units(frame, mask, bins, gain, radial=radial, high_clip=2.5 if crowded else 4)
    z = np.where(good, z - local_mean(z, good, mask, 1 if crowded else 4), 0)
    s3, s5 = box_sum(z, 1) / 3, box_sum(z, 2) / 5
    merit = s3 + 0.5 * z + 0.5 * s5
    around = np.pad(merit, 1, constant_values=-np.inf)
    highest = np.max(
        [around[1 + i : 1 + i + z.shape[0], 1 + j : 1 + j + z.shape[1]] for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j], 0
    )  # fmt: skip
    root = np.sqrt(photons)
    tests = [
        np.minimum(s3 - 3.5 * noise[0], deviance(3 * s3 * root, 9 * photons) - 3.5 * noise[0]),
        np.minimum(z - 4.5, deviance(z * root, photons) - 4.5),
        np.minimum(s5 - 4 * noise[1], deviance(5 * s5 * root, 25 * photons) - 4 * noise[1]),
    ]
    u = np.maximum(np.maximum(s3, z), 1.4 * s5) * 3 * root
    bright = np.maximum(snr(u, 9 * photons), snr(z * root, photons)) - 1.5
    margin = np.minimum.reduce([np.max(tests, 0), bright, merit - highest])
    margin[~mask | (photons == 1) & ~good] = -np.inf
    return {(int(i), int(j)): float(margin[i, j]) for i, j in np.argwhere(margin > -0.02)}, z


def evenly(pixels: np.ndarray, most: int) -> np.ndarray:
    """At most so many of some pixels, evenly spaced."""
    keep = min(len(pixels), most)
    return pixels[(2 * np.arange(keep) + 1) * len(pixels) // (2 * keep)] if keep else pixels


def samples_of_bin(pixels: np.ndarray, good: np.ndarray, most: int) -> np.ndarray:
    """What a plan lists of a bin's pixels: some, -1 in the place of bad ones; anew of good ones where many are bad.

    pixels : places in a flat frame; good : of each; most : to list
    """
    listed, is_good = evenly(pixels, most), evenly(good, most)
    anew = 4 * (~is_good).sum() > len(listed) and good.sum() > is_good.sum()
    return evenly(pixels[good], most) if anew else np.where(is_good, listed, -1)
