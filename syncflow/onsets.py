"""When a sound starts, and when a motion ends: the instants that sound and picture share; no weights.

The convention of time: sample m is heard at m / sample_rate, and frame k is seen from k / fps on. An
audio onset is the instant at which a sound starts. A motion peak is the instant of an impact, the
end of a stroke: the picture changes most between the last frame before it and the first one after
it, so the peak is the middle of that interval, half a frame before the frame that shows it, and right to
half a frame. (A parabola through the neighbouring changes was tried: it lies 9 ms late at 16 fps, for
the picture goes on changing after an impact, and gains little: 16.7 ms against 19.5 ms of spread.)

The thresholds are constants, for they are the protocol: scores of others do not compare.
"""

import numpy as np
from scipy import ndimage, optimize, signal

TOLERANCE_S = 0.1  # the farthest apart that a sound and a motion match

BANDS_HZ = ((50.0, 400.0), (400.0, 1500.0), (1500.0, 5000.0), (5000.0, 14_000.0))
HOP_S = 0.001
SPAN_S = 0.020  # energies are compared over this long before and after an instant
RISE_DB = 9.0  # in the band that rises most
FLOOR_DBFS = -50.0  # an onset's first 20 ms are at least this loud
MASKED_DB = 20.0  # and at most this far below the loudest 20 ms of the last quarter of a second
MASK_S = 0.25
ONSET_GAP_S = 0.12
PICK_S = (0.020, 0.012)  # where the exact start is sought, before and after the rough one

SMOOTH = 0.03  # of the frame's height: standard deviation of the blur before motion is measured
MOTION_FLOOR = 0.25  # change of a frame, grey levels of 255, under which nothing moves
MOTION_SHARE = 0.25  # of the clip's greatest change: the least height and prominence of a peak
MOTION_RATIO = 1.5  # over the clip's median change
MOTION_GAP_S = 0.15
MOTION_LATER = 1.15  # of two peaks within the gap the later must be this much stronger to be the one


def audio_onsets(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Instants at which a sound starts, in seconds, rising; none in silence or in a steady noise.

    Args:
        audio: float `m`, mono, in [-1, 1].
        sample_rate: Hz.
    """
    span = round(SPAN_S / HOP_S)
    total = _span_means(_energy(audio, sample_rate), span)
    if total.shape[-1] <= 2 * span:
        return np.zeros(0)
    rise = np.zeros(total.shape[-1] - span)
    for low, high in BANDS_HZ:
        if low < 0.4 * sample_rate:
            means = _span_means(_energy(_band(audio, low, high, sample_rate), sample_rate), span)
            room = 2.0 * np.percentile(means, 10) + 10 ** ((FLOOR_DBFS - 20) / 10)
            rise = np.maximum(rise, 10 * np.log10((means[span:] + room) / (means[:-span] + room)))
    loud_db = 10 * np.log10(total + 1e-12)
    loudest_db = ndimage.maximum_filter1d(
        loud_db, round(MASK_S / HOP_S), origin=round(MASK_S / HOP_S) // 2 - 1
    )
    heard = (loud_db > FLOOR_DBFS) & (loud_db > loudest_db - MASKED_DB)
    peaks, _ = signal.find_peaks(
        np.where(heard[span:], rise, 0.0), height=RISE_DB, distance=round(ONSET_GAP_S / HOP_S)
    )
    return np.array([_exact_start(audio, peak * HOP_S, sample_rate) for peak in peaks])


def motion_peaks(frames: np.ndarray, fps: float) -> np.ndarray:
    """Instants of impact, the ends of strokes, in seconds, rising; none where nothing moves or all does.

    Args:
        frames: uint8 `f h w c`.
        fps: frames a second.
    """
    if len(frames) < 3:
        return np.zeros(0)
    change = frame_change(frames)
    height = max(MOTION_FLOOR, MOTION_SHARE * float(change.max()), MOTION_RATIO * float(np.median(change)))
    peaks, _ = signal.find_peaks(np.pad(change, 1), height=height, prominence=0.8 * height)
    kept: list[int] = []
    for peak in (int(p) for p in peaks - 1):
        if kept and (peak - kept[-1]) / fps < MOTION_GAP_S:
            if change[peak] > MOTION_LATER * change[kept[-1]]:  # the end of a flash is as strong as its start
                kept[-1] = peak
        else:
            kept.append(peak)
    return (np.array(kept, dtype=float) + 0.5) / fps  # change[i] is from frame i to i + 1


def frame_change(frames: np.ndarray) -> np.ndarray:
    """Root mean square change from each frame to the next, grey levels: `f - 1`.

    The frames are smoothed first, so that a thin thing that moves fast changes more than a slow one.
    """
    grey = frames.astype(np.float32).mean(axis=-1)
    reach = SMOOTH * grey.shape[1]
    return np.sqrt(
        np.square(np.diff(ndimage.gaussian_filter(grey, (0, reach, reach)), axis=0)).mean(axis=(1, 2))
    )


def match_events(first: np.ndarray, second: np.ndarray, *, tolerance_s: float) -> np.ndarray:
    """`first - second` of the pairs of the largest one-to-one matching within `tolerance_s`, seconds.

    Of the matchings of that size it is the one whose distances sum to the least.
    """
    distance = np.abs(np.subtract.outer(first, second))
    far = 1.0 + distance.size * tolerance_s  # dearer than any number of near pairs
    rows, columns = optimize.linear_sum_assignment(np.where(distance <= tolerance_s, distance, far))
    near = distance[rows, columns] <= tolerance_s
    return np.asarray(first)[rows[near]] - np.asarray(second)[columns[near]]


def _band(audio: np.ndarray, low: float, high: float, sample_rate: int) -> np.ndarray:
    edges = (low, min(high, 0.45 * sample_rate))
    return np.asarray(
        signal.sosfilt(signal.butter(2, edges, "bandpass", fs=sample_rate, output="sos"), audio)
    )


def _energy(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mean square of each hop."""
    edges = np.round(np.arange(0.0, len(audio) / sample_rate, HOP_S) * sample_rate).astype(int)
    if not len(edges):
        return np.zeros(0)
    counts = np.diff(np.append(edges, len(audio)))
    return np.add.reduceat(np.square(audio, dtype=np.float64), edges) / np.maximum(counts, 1)


def _span_means(energy: np.ndarray, span: int) -> np.ndarray:
    """Mean energy of the `span` hops before each hop; the clip's edges are held outward."""
    held = np.pad(energy, (span, span - 1), mode="edge") if len(energy) else energy
    total = np.concatenate(([0.0], np.cumsum(held)))
    return (total[span:] - total[:-span]) / span if len(total) > span else np.zeros(0)


def _exact_start(audio: np.ndarray, rough_s: float, sample_rate: int) -> float:
    """The instant near `rough_s` that best parts a quiet stretch from a loud one, seconds.

    Of two Gaussians, one before and one after, the likeliest border (the Akaike picker of seismology).
    """
    start = max(0, round((rough_s - PICK_S[0]) * sample_rate))
    part = np.diff(audio[start : round((rough_s + PICK_S[1]) * sample_rate)].astype(np.float64))
    count, margin = len(part), round(HOP_S * sample_rate)
    if count <= 2 * margin:
        return rough_s
    squares = np.concatenate(([0.0], np.cumsum(part**2)))
    border = np.arange(margin, count - margin)
    before = squares[border] / border + 1e-12
    after = (squares[-1] - squares[border]) / (count - border) + 1e-12
    cost = border * np.log(before) + (count - border) * np.log(after)
    return (start + 1 + int(border[cost.argmin()])) / sample_rate
