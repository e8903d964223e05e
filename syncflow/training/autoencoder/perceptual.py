"""Distance of two images in the features of a network that was trained on images."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_BACKBONE_MAPPING, AutoConfig

from syncflow.errors import UserError
from syncflow.pretrained import load_whole

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of colours in [0, 1]
EPS = 1e-8


class PerceptualDistance(nn.Module):
    """Mean squared distance of channel-normalised features, summed over a frozen backbone's levels.

    The form of LPIPS (arXiv 1801.03924, equation 1) with all channels weighted alike: its learned weights
    belong to backbones of torchvision. No gradient reaches the backbone; it is not saved.

    Args:
        folder: a backbone of transformers (ResNet, ConvNeXt, DINOv2 ...), config.json and safetensors.

    Raises:
        UserError: no backbone is there.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, folder: Path) -> None:
        super().__init__()
        try:
            config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
            # AutoBackbone itself asks the hub, also about a folder
            kind: Any = MODEL_FOR_BACKBONE_MAPPING[type(config)]
            named = {"out_features": config.stage_names}
            self.backbone = load_whole(kind, str(folder), local_files_only=True, **named)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise UserError(
                f"perceptual {folder}: no backbone of transformers ({' '.join(str(error).split())[:160]}); "
                "give the folder of one, such as microsoft/resnet-50, with its weights as safetensors"
            ) from None
        self.backbone.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.train(False)

    def train(self, mode: bool = True) -> "PerceptualDistance":
        """The backbone always runs as it does on its own, whatever trains around it."""
        return super().train(False)

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """A scalar, float32, of frames `n 3 h w` in [-1, 1]; the gradient is that of `made`."""
        with torch.no_grad():
            of_real = self._features(real)
        terms = [(a - b).square().sum(1).mean() for a, b in zip(self._features(made), of_real, strict=True)]
        return torch.stack(terms).sum()

    def _features(self, images: Tensor) -> list[Tensor]:
        found = self.backbone(((images + 1) / 2 - self.mean) / self.std).feature_maps
        return [each.float() / (each.float().norm(dim=1, keepdim=True) + EPS) for each in found]
