"""I3D as StyleGAN-V's FVD has it: a TorchScript file, run as it is (Skorokhodov et al. 2022).

TorchScript is code. It is run only if the settings name the file's hash, and it sees clips and nothing else.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from syncflow.errors import UserError
from syncflow.evaluation.extractors.base import DecodedMedia, Modality, Outputs, Refused
from syncflow.evaluation.extractors.i3d import CLASSES, logits_of_each
from syncflow.evaluation.extractors.settings import I3DSettings
from syncflow.evaluation.extractors.weight_files import MissingWeightsError, WeightFile
from syncflow.hashing import file_sha256

FILE = WeightFile(
    name="i3d_torchscript.pt",
    source="github.com/universome/stylegan-v (its FVD)",
    licence="Apache-2.0 (of the weights that it was converted from)",
    megabytes=51,
    as_it_is=True,
)


class I3DScript:
    """`logits`: `400`, of pixels that are resized and scaled here, as for the other two families.

    Args:
        script: the TorchScript module.
    """

    name = "i3d"
    modality: Modality = "video"
    outputs = ("logits",)

    def __init__(self, script: Any, *, sha256: str, settings: I3DSettings, device: str) -> None:
        self.script, self.settings, self.device = script, settings, device
        self.identity: dict[str, Any] = {
            "weights": FILE.name,
            "weights_sha256": sha256,
            "epsilon": "of the file's code",
            **settings.model_dump(mode="json", exclude={"script_sha256"}),
        }

    @classmethod
    def load(cls, folder: Path, *, settings: I3DSettings, device: str = "cpu") -> "I3DScript":
        """With the file in `folder`.

        Raises:
            MissingWeightsError: it is not there.
            UserError: its hash is not the one that the settings name, or it is no TorchScript.
        """
        path = folder / FILE.name
        if not path.is_file():
            raise MissingWeightsError(FILE, folder)
        sha256 = file_sha256(path)
        if settings.script_sha256 != sha256:
            named = f"i3d.script_sha256 is {settings.script_sha256[:12] or 'not set'}"
            raise UserError(
                f"{path}: carries code that would be run, and {named}; if you trust where it comes from, set "
                f"i3d.script_sha256 to {sha256}"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # there is no other form of it
                script = torch.jit.load(str(path), map_location=device).eval()
        except RuntimeError as error:
            first = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path}: no TorchScript file ({first}); get it again from {FILE.source}"
            ) from None
        return cls(script, sha256=sha256, settings=settings, device=device)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        """Raises UserError where the file's code gives anything but 400 numbers a clip."""
        return logits_of_each(clips, self._logits, resize=self.settings.resize, device=self.device)

    def _logits(self, video: Tensor) -> Tensor:
        try:
            logits = self.script(video, rescale=False, resize=False, return_features=True)
        except RuntimeError as error:
            last = (str(error).strip().splitlines() or ["no message"])[-1][:200]
            raise UserError(f"{FILE.name}: its code failed ({last}); is it StyleGAN-V's file?") from None
        if tuple(logits.shape) != (1, CLASSES):
            raise UserError(
                f"{FILE.name}: gives {list(logits.shape)} for a clip, expected [1, {CLASSES}]; is it "
                "StyleGAN-V's file?"
            )
        return logits[0].float()
