"""What ImageBind sees of a clip: two frames in three crops, a log-mel spectrogram, tokens of the prompt.

Clips of 2 s are cut at `i (duration - 2 s) / (n - 1)`: a sound into three, a video into five. At 2 s all are
one, and of a square video the three crops are one too, so that each is computed once.
"""

import gzip
import html
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from syncflow.evaluation.extractors.imagebind import TEXT_LENGTH
from syncflow.evaluation.extractors.weight_files import MissingWeightsError, WeightFile

WORDS = WeightFile(
    name="bpe_simple_vocab_16e6.txt.gz",
    source="github.com/openai/CLIP (or the package clip-anytorch)",
    licence="MIT",
    megabytes=1,
    fetched=True,
)
CLIP_S, AUDIO_CLIPS, VIDEO_CLIPS = 2.0, 3, 5
RATE, WINDOW, HOP, SPECTRUM, MELS, FRAMES = 16_000, 400, 160, 512, 128, 204
MEL_MEAN, MEL_DEVIATION = -4.268, 9.138
SIZE = 224
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's
PIXEL_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def clip_starts(duration_s: float, count: int) -> list[float]:
    """Starts of `count` evenly spaced clips of 2 s, seconds; those that are equal once."""
    room = max(0.0, duration_s - CLIP_S)
    return sorted({i * room / (count - 1) for i in range(count)})


def spectrograms(audio: np.ndarray) -> Tensor:
    """Sound `m` at 16 kHz -> `clip 1 128 204`; one clip where all three are equal.

    Overlapping clips of a longer sound lose their mean one after another, as in the original.
    """
    wave = np.array(audio, dtype=np.float32)
    found = []
    for start_s in clip_starts(len(wave) / RATE, AUDIO_CLIPS):
        start = int(start_s * RATE)
        part = wave[start : start + int(CLIP_S * RATE)]
        part -= part.mean()  # of the sound itself
        found.append(spectrogram(part))
    return torch.stack(found)


def spectrogram(audio: np.ndarray) -> Tensor:
    """Up to 2 s without its mean -> `1 128 204`, standardised after the padding with zeros."""
    mel = filterbank(audio)[:FRAMES]
    padded = np.pad(mel, ((0, FRAMES - len(mel)), (0, 0)))
    return torch.from_numpy((padded.T[None] - MEL_MEAN) / MEL_DEVIATION).float()


def filterbank(audio: np.ndarray) -> np.ndarray:
    """Kaldi's log mel filterbank `frame 128`, without dither."""
    from transformers.audio_utils import spectrogram as power_spectrogram
    from transformers.audio_utils import window_function

    found = power_spectrogram(
        audio,
        window_function(WINDOW, "hann", periodic=False),
        frame_length=WINDOW,
        hop_length=HOP,
        fft_length=SPECTRUM,
        power=2.0,
        center=False,
        preemphasis=0.97,
        remove_dc_offset=True,
        mel_filters=_kaldi_filters(),
        mel_floor=1.192092955078125e-07,
        log_mel="log",
    )
    return np.asarray(found).T


@lru_cache(maxsize=1)
def _kaldi_filters() -> np.ndarray:
    from syncflow.evaluation.extractors.waveforms import mel_filters

    return mel_filters(
        bins=SPECTRUM // 2 + 1,
        mels=MELS,
        low=20.0,
        high=RATE / 2,
        rate=RATE,
        scale="kaldi",
        normed=False,
        in_mel_space=True,
    )


def views(frames: np.ndarray, fps: float) -> Tensor:
    """uint8 `f h w 3` -> `view 3 2 224 224`: of each clip its first and last frame, in three crops.

    Views that are equal are given once, each as often as any other: their mean is that of all fifteen.
    """
    length = round(CLIP_S * fps)
    found = []
    for start_s in clip_starts(len(frames) / fps, VIDEO_CLIPS):
        start = round(start_s * fps)
        clip = frames[start : start + length]
        found += crops(clip[[0, len(clip) - 1]])
    return torch.stack(found)


def crops(frames: np.ndarray) -> list[Tensor]:
    """uint8 `f h w 3` -> left, centre and right (or top, centre, bottom) `3 f 224 224`; equal ones once."""
    video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255.0
    height, width = video.shape[2:]
    size = (SIZE, int(width * SIZE / height)) if height <= width else (int(height * SIZE / width), SIZE)
    video = functional.interpolate(video, size=size, mode="bilinear", align_corners=False)
    video = _standardised(video).permute(1, 0, 2, 3)  # c f h w
    room = max(size) - SIZE
    offsets = sorted({0, _centre(room), room})
    if size[0] > size[1]:
        return [video[:, :, offset : offset + SIZE] for offset in offsets]
    return [video[:, :, :, offset : offset + SIZE] for offset in offsets]


def still(frame: np.ndarray) -> Tensor:
    """uint8 `h w 3` -> `3 2 224 224`: a picture, twice."""
    from PIL import Image

    picture = Image.fromarray(frame)
    width, height = picture.size
    short = min(width, height)
    size = (int(width * SIZE / short), int(height * SIZE / short))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    left, top = round((size[0] - SIZE) / 2), round((size[1] - SIZE) / 2)
    picture = picture.crop((left, top, left + SIZE, top + SIZE))
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255.0
    return _standardised(pixels[None])[0][:, None].repeat(1, 2, 1, 1)


def _centre(room: int) -> int:
    return -(-room // 2)


def _standardised(pixels: Tensor) -> Tensor:
    mean = torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1)
    deviation = torch.tensor(PIXEL_DEVIATION).view(1, 3, 1, 1)
    return (pixels - mean) / deviation


class Words:
    """CLIP's byte pair encoding, of its vocabulary file.

    Text is unescaped from HTML, its curly quotes straightened, its spaces collapsed, and lower case.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / WORDS.name
        if not path.is_file():
            raise MissingWeightsError(WORDS, folder)
        from transformers import CLIPTokenizer
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
        merges = lines[1 : 49_152 - 256 - 2 + 1]
        letters = list(bytes_to_unicode().values())
        pieces = [*letters, *(letter + "</w>" for letter in letters)]
        pieces += ["".join(merge.split()) for merge in merges]
        pieces += ["<|startoftext|>", "<|endoftext|>"]
        pairs: Any = [tuple(merge.split()) for merge in merges]
        self._tokenizer = CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=pairs)

    def __call__(self, texts: list[str]) -> Tensor:
        """Prompts -> ids `b 77`, zeros behind the end; a long one is cut, as in the original."""
        ids = torch.zeros(len(texts), TEXT_LENGTH, dtype=torch.long)
        for row, text in zip(ids, texts, strict=True):
            found = self._tokenizer(cleaned(text))["input_ids"][:TEXT_LENGTH]
            row[: len(found)] = torch.tensor(found)
        return ids


def cleaned(text: str) -> str:
    """As CLIP cleans it, but for the repair of broken encodings."""
    for curly, straight in (("\u2018", "'"), ("\u2019", "'"), ("\u201c", '"'), ("\u201d", '"')):
        text = text.replace(curly, straight)
    return " ".join(html.unescape(html.unescape(text)).split()).lower()
