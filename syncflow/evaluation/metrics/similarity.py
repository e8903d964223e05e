"""Cosine scores of embeddings: pairs of clips (CLAP, ImageBind), and JavisBench's two over frames."""

import numpy as np

LOWEST_SHARE = 0.4  # of a window's frames, which its JavisScore is the mean of


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of each pair of rows: `... feature`, `... feature` -> `...`; the lengths do not matter.

    Raises:
        ValueError: the widths differ.
    """
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(f"embeddings: {first.shape[-1]} and {second.shape[-1]} numbers")
    return np.asarray((unit(first) * unit(second)).sum(-1))


def unit(embedding: np.ndarray) -> np.ndarray:
    """`... feature` scaled to length 1; zeros stay zeros."""
    wide = embedding.astype(np.float64)
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    return wide / np.where(length > 0, length, 1.0)


def avh_score(frames: np.ndarray, audio: np.ndarray) -> float:
    """AVHScore of one clip: mean cosine of each frame's embedding with that of the whole sound.

    Args:
        frames: `frame feature`, each frame embedded as a still image.
        audio: `feature`.
    """
    return float(cosine(frames, audio[None]).mean())


def javis_score(windows: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """JavisScore of one clip: in each window the mean of its lowest 40 % of frame cosines; then the mean.

    Args:
        windows: for each window (0.5 s in JavisBench) the frames `frame feature` and its sound `feature`.

    Raises:
        ValueError: a window of fewer than 3 frames, of which 40 % is none.
    """
    scores = []
    for frames, audio in windows:
        count = int(LOWEST_SHARE * len(frames))
        if count < 1:
            raise ValueError(f"JavisScore: a window of {len(frames)} frames; it needs at least 3")
        scores.append(np.sort(cosine(frames, audio[None]))[:count].mean())
    return float(np.mean(scores))
