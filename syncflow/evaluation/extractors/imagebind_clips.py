"""ImageBind over clips: embeddings of video, sound, prompt, and of frames and half seconds for JavisScore."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from syncflow.evaluation.extractors.base import DecodedMedia, Modality, Outputs, Refused
from syncflow.evaluation.extractors.imagebind import LoadedImageBind
from syncflow.evaluation.extractors.imagebind_inputs import (
    RATE,
    WINDOW,
    Words,
    spectrogram,
    spectrograms,
    still,
    views,
)
from syncflow.evaluation.extractors.waveforms import waveform_at

WINDOW_S = 0.5  # of JavisScore
FRAMES_AT_ONCE = 8


class ImageBindVideo:
    """`embedding`: `1024`, mean over the clip's views. At 2 s it sees the first and the last frame only."""

    name = "imagebind_video"
    modality: Modality = "video"
    outputs = ("embedding",)

    def __init__(self, loaded: LoadedImageBind) -> None:
        self.loaded, self.identity = loaded, loaded.identity

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        model, device = self.loaded.model, self.loaded.device
        found: list[Outputs | Refused] = []
        for clip in clips:
            if len(clip.video) < 2:
                found.append(Refused(reason=f"too_short: {len(clip.video)} frames, ImageBind needs 2"))
                continue
            embeddings = [model.vision(view[None].to(device)) for view in views(clip.video, clip.fps)]
            found.append({"embedding": torch.cat(embeddings).mean(0).cpu().numpy()})
        return found


class ImageBindAudio:
    """`embedding`: `1024`, mean over the clip's parts of 2 s."""

    name = "imagebind_audio"
    modality: Modality = "audio"
    outputs = ("embedding",)

    def __init__(self, loaded: LoadedImageBind) -> None:
        self.loaded, self.identity = loaded, loaded.identity

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        model, device = self.loaded.model, self.loaded.device
        found: list[Outputs | Refused] = []
        for clip in clips:
            audio = waveform_at(clip, RATE, self.loaded.settings.resampler)
            if len(audio) < WINDOW:
                found.append(Refused(reason=f"too_short: {len(audio) / RATE:.3f} s of sound"))
                continue
            embeddings = model.audio(spectrograms(audio).to(device))
            found.append({"embedding": embeddings.mean(0).cpu().numpy()})
        return found


class ImageBindText:
    """`embedding`: `1024` of the prompt."""

    name = "imagebind_text"
    modality: Modality = "text"
    outputs = ("embedding",)

    def __init__(self, loaded: LoadedImageBind, words: Words) -> None:
        self.loaded, self.identity, self.words = loaded, loaded.identity, words

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        ids = self.words([clip.text for clip in clips]).to(self.loaded.device)
        return [{"embedding": embedding} for embedding in self.loaded.model.text(ids).cpu().numpy()]


class ImageBindFrames:
    """`frames`: `f 1024`, each frame as a still image, for AVHScore and JavisScore."""

    name = "imagebind_frames"
    modality: Modality = "video"
    outputs = ("frames",)

    def __init__(self, loaded: LoadedImageBind) -> None:
        self.loaded, self.identity = loaded, loaded.identity

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        return [{"frames": self._embed(torch.stack([still(f) for f in clip.video]))} for clip in clips]

    def _embed(self, stills: Tensor) -> np.ndarray:
        parts = [
            self.loaded.model.vision(part.to(self.loaded.device)) for part in stills.split(FRAMES_AT_ONCE)
        ]
        return torch.cat(parts).cpu().numpy()


class ImageBindWindows:
    """`windows`: `w 1024`, each half second of sound, for JavisScore."""

    name = "imagebind_windows"
    modality: Modality = "audio"
    outputs = ("windows",)

    def __init__(self, loaded: LoadedImageBind) -> None:
        self.loaded = loaded
        self.identity = {**loaded.identity, "window_s": WINDOW_S}

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        found: list[Outputs | Refused] = []
        length = round(WINDOW_S * RATE)
        for clip in clips:
            audio = waveform_at(clip, RATE, self.loaded.settings.resampler)
            if len(audio) < length:
                found.append(
                    Refused(reason=f"too_short: {len(audio) / RATE:.3f} s of sound, needs {WINDOW_S} s")
                )
                continue
            parts = [audio[start : start + length] for start in range(0, len(audio) - length + 1, length)]
            mels = torch.stack([spectrogram(part - part.mean()) for part in parts]).to(self.loaded.device)
            found.append({"windows": self.loaded.model.audio(mels).cpu().numpy()})
        return found
