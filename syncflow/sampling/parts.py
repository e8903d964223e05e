"""The parts of a pipeline: what they are, which clips they can make, and their decoders."""

import logging
import tempfile
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import DiffusionPipeline
from huggingface_hub import create_repo, upload_folder
from torch import Tensor
from transformers import PreTrainedTokenizerBase, T5EncoderModel

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.checkpoint import CheckpointManifest
from syncflow.errors import UserError
from syncflow.model.dual_dit import DualDiT
from syncflow.model.float8 import computes_in_float8
from syncflow.pixels import frames_to_video
from syncflow.records import AVLatents, ClipSpec
from syncflow.sampling.card import write_beside
from syncflow.sampling.checks import check_count, check_size
from syncflow.sampling.from_checkpoint import checkpoint_parts, is_checkpoint
from syncflow.sampling.given import Frames, are_latents
from syncflow.sampling.lora import LoraLoading
from syncflow.sampling.output import (
    OutputType,
    SyncFlowOutput,
    as_latents,
    as_output,
    decode_audio,
    decode_video,
)
from syncflow.shipped import shipped_folder

LOG = logging.getLogger(__name__)
PLACES = ("video_vae", "audio_vae", "text_encoder")  # what a checkpoint only names
LOADING = ("dtype", "torch_dtype", "use_safetensors", "local_files_only", "low_cpu_mem_usage")


class SyncFlowParts(DiffusionPipeline, LoraLoading):
    """The dual DiT, the autoencoders and the text encoder; `SyncFlowPipeline` makes clips with them.

    A saved pipeline is a folder with model_index.json and a folder a part; it loads offline.
    """

    model_cpu_offload_seq = "text_encoder->dual_dit->video_vae->audio_vae"

    def __init__(
        self,
        dual_dit: DualDiT,
        video_vae: VideoVAE,
        audio_vae: AudioVAE,
        text_encoder: T5EncoderModel,
        tokenizer: PreTrainedTokenizerBase,
        height: int = 256,
        width: int = 256,
        num_frames: int = 32,
        fps: int = 16,
        max_text_tokens: int = 300,
        trained_clean_video: float | None = None,
        trained_prompt_dropout: float | None = None,
        trained_text_tokens: int | None = None,
    ) -> None:
        """The numbers are the defaults of `__call__`, saved with the parts: pixels, frames, Hz, tokens.

        `trained_clean_video` and `trained_prompt_dropout` are settings of the training (None: unknown); a
        request that differs from them is done with a warning. `trained_text_tokens` is the mean length of its
        prompts, and the length of the null prompt where a request has no prompt.

        Args:
            tokenizer: of the text encoder.
        """
        super().__init__()
        self.register_modules(
            dual_dit=dual_dit,
            video_vae=video_vae,
            audio_vae=audio_vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
        )
        self.register_to_config(
            height=height,
            width=width,
            num_frames=num_frames,
            fps=fps,
            max_text_tokens=max_text_tokens,
            trained_clean_video=trained_clean_video,
            trained_prompt_dropout=trained_prompt_dropout,
            trained_text_tokens=trained_text_tokens,
        )
        self._told: set[str] = set()
        self._trained: CheckpointManifest | None = None  # the checkpoint that the parts come from

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], **kwargs: Any) -> Self:
        """As diffusers'; takes a shipped name, such as `tiny`, and the checkpoint of a stage, too.

        Of a checkpoint, `.../joint/checkpoint`, the encoders are loaded from where they were when its dataset
        was made, or from the folders `video_vae`, `audio_vae` and `text_encoder` with the same weights.

        Parts have the precision that `dtype` asks for, float32 by default, whatever they were saved in
        (diffusers leaves a part as it was saved when float32 is asked for).
        """
        folder = shipped_folder(pretrained_model_name_or_path) or pretrained_model_name_or_path
        asked = kwargs.get("dtype", kwargs.get("torch_dtype")) or torch.float32
        if is_checkpoint(Path(folder)):
            pipeline = cls._from_checkpoint(Path(folder), **kwargs)
        else:
            kwargs.setdefault("low_cpu_mem_usage", False)
            pipeline = super().from_pretrained(folder, **kwargs)
        for name in ("dual_dit", "video_vae", "audio_vae"):
            dtype = asked.get(name, asked.get("default", torch.float32)) if isinstance(asked, dict) else asked
            torch.nn.Module.to(getattr(pipeline, name), dtype=dtype)  # diffusers' own `to` warns of a cast
        return pipeline  # type: ignore[return-value]

    @classmethod
    def _from_checkpoint(cls, folder: Path, **kwargs: Any) -> Self:
        places = {name: str(kwargs[name]) for name in PLACES if kwargs.get(name) is not None}
        if unknown := set(kwargs) - {*PLACES, *LOADING}:
            raise UserError(
                f"checkpoint {folder}: {', '.join(sorted(unknown))}: a checkpoint takes dtype and the "
                f"folders {', '.join(PLACES)}; save it with save_pretrained for all that diffusers takes"
            )
        trained = CheckpointManifest.read(folder)
        if trained.stage == "video":
            LOG.warning("checkpoint %s: of stage video, its audio tower is not trained", folder)
        pipeline = cls(**checkpoint_parts(folder, **places))
        pipeline._trained = trained
        return pipeline

    def save_pretrained(
        self, save_directory: str | PathLike[str], *args: Any, licence: str = "", **kwargs: Any
    ) -> None:
        """As diffusers', with a model card (README.md) beside the parts, where there is none, and the class
        file by which plain diffusers loads the folder.

        Args:
            save_directory: the folder.
            args: as diffusers'.
            licence: identifier of the weights' licence, for the card: apache-2.0, cc-by-4.0 and so on.
            kwargs: as diffusers'; `push_to_hub=True` is the method `push_to_hub`.

        Raises:
            UserError: `push_to_hub=True`, or towers in float8.
        """
        if computes_in_float8(self.dual_dit):
            raise UserError(
                "save_pretrained: the towers hold weights rounded to float8; load the pipeline again without "
                "speed.fp8 and save that"
            )
        if kwargs.get("push_to_hub"):
            raise UserError("push_to_hub: call pipeline.push_to_hub(repo_id), which uploads the card too")
        super().save_pretrained(save_directory, *args, **kwargs)
        write_beside(
            Path(save_directory),
            parts={name: part for name, part in self.components.items() if isinstance(part, torch.nn.Module)},
            config=self.config,
            sample_rate=self.audio_vae.config.sample_rate,
            trained=self._trained,
            licence=licence,
        )

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        licence: str = "",
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Save the pipeline with its card, and upload that as one commit; the commit's address.

        Args:
            repo_id: `owner/name` on the hub; made where it does not exist.
            licence: as for `save_pretrained`.
            commit_message: of the commit.
            private: whether a repository that is made is private; None: as the account has it.
            token: of the hub; None: the one of `hf auth login`.
            create_pr: whether to open a pull request in place of a commit to the main branch.
        """
        made = create_repo(repo_id, private=private, token=token, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="syncflow-") as folder:
            self.save_pretrained(folder, licence=licence)
            return upload_folder(
                repo_id=made.repo_id,
                folder_path=folder,
                commit_message=commit_message or f"Upload {type(self).__name__}",
                token=token,
                create_pr=create_pr,
            )

    @property
    def strides(self) -> tuple[int, int]:
        """What rows and columns of a frame must be multiples of, pixels."""
        _, rows, columns = self.dual_dit.video_tower.config.patch_size
        return self.video_vae.spatial_stride * rows, self.video_vae.spatial_stride * columns

    def spec(self, *, height: int | None, width: int | None, num_frames: int | None) -> ClipSpec:
        """The clip of that size, None taking the saved default.

        Raises:
            UserError: no frames, or a size that the parts cannot make; it names the nearest that they can.
        """
        saved = self.config
        frames = saved["num_frames"] if num_frames is None else num_frames
        rows, columns = (
            (saved["height"] if height is None else height),
            (saved["width"] if width is None else width),
        )
        frames = check_count("num_frames", frames)
        check_size(rows, columns, strides=self.strides)
        rate = self.audio_vae.config.sample_rate
        return ClipSpec(
            seconds=frames / saved["fps"], fps=saved["fps"], height=rows, width=columns, sample_rate=rate
        )

    def _spec_of(
        self, video: Frames | None, height: int | None, width: int | None, num_frames: int | None
    ) -> ClipSpec:
        """The clip to make; given frames decide its size, and its length unless that is asked for."""
        if video is None or are_latents(video):
            return self.spec(height=height, width=width, num_frames=num_frames)
        frames, rows, columns = frames_to_video(video).shape[2:]
        return self.spec(height=rows, width=columns, num_frames=frames if num_frames is None else num_frames)

    def _empty(self, shape: tuple[int, ...]) -> Tensor:
        """No clips, in the shape of one."""
        return torch.empty(0, *shape, device=self._execution_device)

    def _tell(self, lines: Iterable[str]) -> None:
        """Log each line, once in the life of the pipeline."""
        for line in lines:
            if line not in self._told:
                self._told.add(line)
                LOG.warning("%s", line)

    @torch.no_grad()
    def decode(self, x_1: AVLatents, spec: ClipSpec, *, output_type: OutputType = "np") -> SyncFlowOutput:
        """Latents as frames and audio, clip by clip (see `SyncFlowOutput`).

        Args:
            output_type: see `SyncFlowOutput`.
        """
        if output_type == "latent":
            return as_latents(x_1)
        video = audio = None
        if x_1.video is not None:
            self._wake(self.video_vae)
            video = decode_video(self.video_vae, x_1.video, spec)
        if x_1.audio is not None:
            self._wake(self.audio_vae)
            audio = decode_audio(self.audio_vae, x_1.audio, spec)
        return as_output(video, audio, output_type)

    def _wake(self, part: torch.nn.Module | None) -> None:
        """Where `enable_model_cpu_offload` is on: `part` to the GPU, after the others have left it."""
        hooks = getattr(self, "_all_hooks", [])
        for hook in hooks:
            if hook.model is not part:
                hook.offload()
        for hook in hooks:
            if hook.model is part:
                hook.hook.pre_forward(part)
