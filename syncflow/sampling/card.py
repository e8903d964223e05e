"""What lies beside a saved pipeline: its model card, and the file by which diffusers finds its class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from syncflow.checkpoint import CheckpointManifest
from syncflow.files import write_whole
from syncflow.hashing import tensors_sha256
from syncflow.version import __version__

CARD, CLASS_FILE = "README.md", "pipeline.py"
CLASS_TEXT = '''"""The class of this pipeline, for diffusers' `custom_pipeline`."""

from syncflow.sampling.pipeline import SyncFlowPipeline

__all__ = ["SyncFlowPipeline"]
'''


def write_beside(
    folder: Path,
    *,
    parts: Mapping[str, nn.Module],
    config: Mapping[str, Any],
    sample_rate: int,
    trained: CheckpointManifest | None,
    licence: str,
) -> None:
    """Write the class file, and a card where there is none: one that somebody wrote stays.

    Args:
        folder: of the saved pipeline.
        parts: its models by name.
        config: its settings: height, width, num_frames, fps, trained_clean_video and so on.
        sample_rate: of its audio, Hz.
        trained: the checkpoint that it was made of; None: not known.
        licence: identifier of the weights' licence on the hub, as apache-2.0 or cc-by-4.0; empty: not said.
    """
    write_whole(folder / CLASS_FILE, CLASS_TEXT)
    if not (folder / CARD).is_file():
        text = card_text(
            parts=parts, config=config, sample_rate=sample_rate, trained=trained, licence=licence
        )
        write_whole(folder / CARD, text)


def card_text(
    *,
    parts: Mapping[str, nn.Module],
    config: Mapping[str, Any],
    sample_rate: int,
    trained: CheckpointManifest | None,
    licence: str,
) -> str:
    """The card as Markdown under the hub's metadata; no path of this machine is in it. See `write_beside`."""
    metadata: dict[str, Any] = {
        **({"license": licence} if licence else {}),
        "library_name": "diffusers",
        "tags": ["syncflow", "text-to-video", "text-to-audio", "video-to-audio"],
    }
    seconds = config["num_frames"] / config["fps"]
    call = ["clip = pipeline(", '    "PROMPT",', "    seed=0,", ")"]
    if config.get("trained_clean_video"):
        call.insert(3, "    clean_video=True,")
    rows = [
        f"| `{name}` | {sum(p.numel() for p in part.parameters()):,} | "
        f"{str(next(part.parameters()).dtype).removeprefix('torch.')} | "
        f"`{tensors_sha256(part.state_dict())[:16]}` |"
        for name, part in parts.items()
    ]
    lines = [
        "---",
        yaml.safe_dump(metadata, sort_keys=False).strip(),
        "---",
        "",
        "# A SyncFlow pipeline",
        "",
        f"Clips of {seconds:g} s from text, {config['height']} x {config['width']} pixels at {config['fps']} "
        f"frames a second with mono audio of {sample_rate} Hz; or audio for such a video.",
        "",
        "```python",
        "from syncflow import SyncFlowPipeline, write_clip",
        "",
        'pipeline = SyncFlowPipeline.from_pretrained("FOLDER_OR_HUB_ID")',
        *call,
        f'write_clip("clip.mp4", frames=clip.frames[0], audio=clip.audio[0], fps={config["fps"]}, '
        f"sample_rate={sample_rate})",
        "```",
        "",
        "From the command line: `syncflow-generate --checkpoint FOLDER --output out --prompt PROMPT`. Plain "
        "diffusers loads it by its class file: `DiffusionPipeline.from_pretrained(FOLDER, "
        f'custom_pipeline="FOLDER/{CLASS_FILE}", trust_remote_code=True)`.',
        "",
        "| part | parameters | type | sha256 of its tensors |",
        "|---|---|---|---|",
        *rows,
        "",
        "## Training",
        "",
        *_training(config, trained),
        "",
        "## Licence",
        "",
        f"Weights: {licence}." if licence else "Not stated by who saved this pipeline.",
        "",
        f"Saved by SyncFlow {__version__}.",
        "",
    ]
    return "\n".join(lines)


def _training(config: Mapping[str, Any], trained: CheckpointManifest | None) -> list[str]:
    if trained is None:
        facts = ["The checkpoint that these weights come from is not known here; add data and commands."]
    else:
        source = trained.dataset_config.get("source", {})
        facts = [
            f"Stage `{trained.stage}`; content hash of the checkpoint `{trained.model_sha256[:16]}`.",
            f"Data: source of kind `{source.get('kind', 'not said')}`, windows of "
            f"{trained.spec.seconds:g} s, encoded by video VAE `{trained.video_vae.sha256[:16]}` "
            f"and audio VAE `{trained.audio_vae.sha256[:16]}`.",
        ]
    for name, said in (
        ("trained_clean_video", "share of samples whose video was finished ahead of the audio"),
        ("trained_prompt_dropout", "share of prompts that the null prompt replaced"),
    ):
        if config.get(name) is not None:
            facts.append(f"`{name}` {config[name]:g}: {said}.")
    return [f"* {fact}" for fact in facts]
