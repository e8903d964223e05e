"""FoleyGen: codes of a neural codec, one step of the delay pattern at a time, from the features of frames."""

import json
import math
from pathlib import Path

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from syncflow.errors import UserError
from syncflow.foleygen.config import FoleyGenConfig
from syncflow.foleygen.masks import audio_to_frames, causal, frames_to_frames, prefix_mask
from syncflow.foleygen.transformer import Cache, Layer

INITIAL_STD = 0.02


class FoleyGen(ModelMixin, ConfigMixin):
    """Next-step logits of all codebooks; build it with `FoleyGen(**FoleyGenConfig().model_dump())`.

    Both versions share all but how frames come in. Positions are sinusoids of time, so a frame and the audio
    token of its moment have the same one.

    Args:
        feature_dim: width of the visual features.
    """

    @register_to_config
    def __init__(
        self,
        *,
        version: str,
        visual_attention: str,
        num_codebooks: int,
        codebook_size: int,
        code_rate: float,
        feature_dim: int,
        feature_rate: float,
        hidden_size: int,
        depth: int,
        num_heads: int,
        mlp_ratio: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.settings = FoleyGenConfig(
            version=version,  # type: ignore[arg-type]
            visual_attention=visual_attention,  # type: ignore[arg-type]
            num_codebooks=num_codebooks,
            codebook_size=codebook_size,
            code_rate=code_rate,
            feature_dim=feature_dim,
            feature_rate=feature_rate,
            hidden_size=hidden_size,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            dropout=dropout,
        )
        self.is_prefix = version == "prefix"
        self.code_embeddings = nn.ModuleList(
            nn.Embedding(codebook_size + 1, hidden_size) for _ in range(num_codebooks)
        )  # the last entry is the special token
        self.frame_projection = nn.Linear(feature_dim, hidden_size, bias=False)
        self.frame_norm = nn.LayerNorm(feature_dim)
        self.frame_kind = nn.Parameter(torch.zeros(hidden_size))
        self.no_frames = nn.Parameter(torch.zeros(hidden_size))
        self.layers = nn.ModuleList(
            Layer(
                hidden_size=hidden_size,
                num_heads=num_heads,
                mlp_ratio=mlp_ratio,
                dropout=dropout,
                reads_frames=not self.is_prefix,
            )
            for _ in range(depth)
        )
        self.final_norm = nn.LayerNorm(hidden_size, bias=False)
        self.heads = nn.ModuleList(
            nn.Linear(hidden_size, codebook_size, bias=False) for _ in range(num_codebooks)
        )
        self._initialise(depth)

    @torch.no_grad()
    def _initialise(self, depth: int) -> None:
        """Normal weights; the last matrix of each branch is smaller with depth."""
        for name, parameter in self.named_parameters():
            if parameter.ndim >= 2:
                last = name.endswith(("attention.out.weight", "mlp.2.weight"))
                parameter.normal_(std=INITIAL_STD / math.sqrt(2 * depth) if last else INITIAL_STD)
        self.frame_projection.weight.normal_(std=1.0 / math.sqrt(self.frame_projection.in_features))
        self.frame_kind.normal_(std=INITIAL_STD)
        self.no_frames.normal_(std=INITIAL_STD)

    @property
    def special(self) -> int:
        """The token that stands where the delay pattern has no code."""
        return self.settings.codebook_size

    def frame_tokens(self, features: Tensor, dropped: Tensor) -> Tensor:
        """Features `b f d` to tokens `b f e`; `dropped` (bool `b`) clips get those that say nothing."""
        tokens = self.frame_projection(self.frame_norm(features.to(self.frame_projection.weight.dtype)))
        tokens = torch.where(dropped.to(tokens.device)[:, None, None], self.no_frames, tokens)
        times = torch.arange(features.shape[1], device=tokens.device) / self.settings.feature_rate
        return tokens + self.frame_kind + self._positions(times)

    def forward(self, sequence: Tensor, features: Tensor, dropped: Tensor) -> Tensor:
        """Logits `b k s v` of the step after each of a sequence.

        Args:
            sequence: codes and special tokens by the delay pattern, int64 `b k s`.
            features: of the frames, `b f d`.
            dropped: bool `b`: clips whose frames are not told, for guidance.
        """
        frames, tokens = self.frame_tokens(features, dropped), self._code_tokens(sequence, start=0)
        f, s = frames.shape[1], tokens.shape[1]
        if self.is_prefix:
            mask = prefix_mask(s, f, self.settings)
            tokens = self._through(torch.cat([frames, tokens], dim=1), mask)[:, f:]
        else:
            tokens = self._through(
                tokens, causal(s), frames=frames, frames_mask=audio_to_frames(s, f, self.settings)
            )
        return self._logits(tokens)

    def start(self, features: Tensor, dropped: Tensor) -> tuple[Cache, Tensor]:
        """A cache that has read the frames, and their tokens `b f e`; for `next_logits`."""
        frames, cache = self.frame_tokens(features, dropped), Cache.empty(len(self.layers))
        if self.is_prefix:
            self._through(frames, frames_to_frames(frames.shape[1], self.settings), cache=cache)
        return cache, frames

    def next_logits(self, step_codes: Tensor, *, step: int, cache: Cache, frames: Tensor) -> Tensor:
        """Logits `b k v` of step `step + 1` of the sequence, from the codes `b k` of step `step`.

        Args:
            step_codes: codes of one step, `b k`.
        """
        tokens = self._code_tokens(step_codes.unsqueeze(2), start=step)
        seen = audio_to_frames(step + 1, frames.shape[1], self.settings)[-1:]
        before = torch.ones(1, step + 1, dtype=torch.bool)
        if self.is_prefix:
            tokens = self._through(tokens, torch.cat([seen, before], dim=1), cache=cache)
        else:
            tokens = self._through(tokens, before, frames=frames, frames_mask=seen, cache=cache)
        return self._logits(tokens)[:, :, 0]

    def _code_tokens(self, sequence: Tensor, *, start: int) -> Tensor:
        """Tokens `b s e` of the steps from `start` on: the sum of the codebooks' embeddings."""
        found = torch.stack([embed(sequence[:, k]) for k, embed in enumerate(self.code_embeddings)]).sum(0)
        steps = torch.arange(start, start + sequence.shape[2], device=found.device)
        return found + self._positions(steps / self.settings.code_rate)

    def _positions(self, times: Tensor) -> Tensor:
        """Sinusoids `s e` of times in seconds; the fastest turns once in about 6 codes."""
        half = self.settings.hidden_size // 2
        rates = torch.exp(torch.arange(half, device=times.device) * (-math.log(10_000.0) / max(1, half - 1)))
        angles = (times * self.settings.code_rate).unsqueeze(1) * rates
        return torch.cat([angles.cos(), angles.sin()], dim=1).to(self.no_frames.dtype)

    def _through(
        self,
        tokens: Tensor,
        mask: Tensor,
        *,
        frames: Tensor | None = None,
        frames_mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        for number, layer in enumerate(self.layers):
            kept = None if cache is None else cache.layers[number]
            tokens = layer(tokens, mask=mask, frames=frames, frames_mask=frames_mask, cache=kept)
        return tokens

    def _logits(self, tokens: Tensor) -> Tensor:
        normed = self.final_norm(tokens)
        return torch.stack([head(normed) for head in self.heads], dim=1)  # b k s v


def load_foleygen(folder: Path) -> FoleyGen:
    """The model of a folder that `save_pretrained` wrote, in evaluation mode.

    Raises:
        UserError: no such folder, or weights that do not fit.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "diffusion_pytorch_model.safetensors")
        model = FoleyGen(**{name: value for name, value in config.items() if not name.startswith("_")})
        model.load_state_dict(tensors, strict=True)
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        told = " ".join(str(error).split())[:300]
        raise UserError(
            f"FoleyGen {folder}: cannot be loaded ({told}); give the folder that train_foleygen.py wrote"
        ) from None
    return model.eval()
