"""CoDi (microsoft/i-Code, i-Code-V3): video and audio for each prompt of a table, as clips.

    <environment>/bin/python run_codi.py --check --weights WEIGHTS --source i-Code/i-Code-V3
    <environment>/bin/python run_codi.py --weights WEIGHTS --source i-Code/i-Code-V3 \\
        --prompts out/tables/set/prompts.csv --output CLIPS

Row 12 becomes 00012-0.mp4: its 8 frames at 4 fps, repeated to 16 fps, and the first 2 s of its 10 s of audio.
The same command again makes what lacks. The folder is what `made.codi` of reproduce_tables.py takes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

from foreign_exchange import (
    CannotMakeError,
    CannotRunError,
    Places,
    check_environment,
    check_source,
    module,
    seed_everything,
    write_wav,
)
from torch_weights import check_weights

WEIGHTS = {
    "CoDi_encoders.pth": ("autokl.decoder.", "audioldm.vocoder.", "clip.model."),
    "CoDi_text_diffuser.pth": ("model.diffusion_model.unet_text.",),
    "CoDi_audio_diffuser_m.pth": ("model.diffusion_model.unet_audio.",),
    "CoDi_video_diffuser_8frames.pth": ("model.diffusion_model.unet_image.",),
}
LICENCE = "MIT, as its code"
RATE, SECONDS, FPS, FRAMES, FRAMES_FPS, EDGE = 16_000, 2.0, 16, 8, 4, 256
PACKAGES = ("torch", "numpy", "einops", "easydict", "pytorch_lightning", "transformers", "torchlibrosa")
REMEDY = "download it from ZinengTang/CoDi into this folder"


def check(places: Places) -> None:
    """Raises CannotRunError where weights, source, packages or ffmpeg are missing or bad."""
    for name, keys in WEIGHTS.items():
        check_weights(places.weights / name, names=keys, what=f"CoDi ({name})", remedy=REMEDY)
    check_source(
        places.source,
        "core/models/model_module_infer.py",
        "clone https://github.com/microsoft/i-Code and give its folder i-Code-V3",
    )
    check_environment("CoDi", PACKAGES, "install its requirements there (docs/systems.md)", tools=["ffmpeg"])


def load(places: Places, *, half: bool) -> Any:
    """The model with all four weights, on the GPU."""
    torch = module("torch")
    if not torch.cuda.is_available():
        raise CannotRunError("CoDi: its code needs a GPU, and torch sees none")
    assert places.source is not None
    os.chdir(places.source)  # its configs are named from there
    build = module("core.models.model_module_infer").model_module
    return build(data_dir=str(places.weights), pth=list(WEIGHTS), fp16=half).cuda().eval()


def make(model: Any, prompt: str, *, seed: int, steps: int, scale: float) -> tuple[Any, Any]:
    """Frames uint8 `f h w 3` and a float waveform `m`."""
    seed_everything(seed)
    video, audio = model.inference(
        xtype=["video", "audio"],
        condition=[prompt],
        condition_types=["text"],
        n_samples=1,
        image_size=EDGE,
        ddim_steps=steps,
        scale=scale,
        num_frames=FRAMES,
    )
    np = module("numpy")
    return np.stack([np.asarray(frame) for frame in video[0]]), np.asarray(audio[0], np.float32).reshape(-1)


def write_clip(path: Path, frames: Any, audio: Any) -> None:
    """An mp4 of `SECONDS`, whole or not at all."""
    if frames.shape != (FRAMES, EDGE, EDGE, 3):
        raise CannotMakeError(f"CoDi gave frames of shape {frames.shape}")
    if len(audio) < SECONDS * RATE:
        raise CannotMakeError(f"CoDi gave {len(audio) / RATE:.2f} s of audio, {SECONDS:g} are needed")
    wav, temporary = path.with_suffix(".wav"), path.with_name("." + path.name)
    write_wav(wav, audio[: round(SECONDS * RATE)], RATE)
    command = [
        *("ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{EDGE}x{EDGE}"),
        *("-r", str(FRAMES_FPS), "-i", "pipe:0", "-i", str(wav), "-map", "0:v", "-map", "1:a"),
        *("-vf", f"fps={FPS}", "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-c:a", "aac"),
        *("-b:a", "192k", "-t", str(SECONDS), "-f", "mp4", str(temporary)),
    ]
    try:
        subprocess.run(command, input=frames.tobytes(), check=True)
    except subprocess.CalledProcessError as error:
        raise CannotMakeError(f"ffmpeg ended with status {error.returncode}") from None
    os.replace(temporary, path)  # noqa: PTH105
    wav.unlink()


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, values: Any) -> None:
    temporary = path.with_name("." + path.name)
    temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")
    os.replace(temporary, path)  # noqa: PTH105


def make_all(given: argparse.Namespace, places: Places) -> int:
    """Make what lacks, with a card and a line for each row; the number of rows without a clip."""
    try:
        with given.prompts.open(newline="", encoding="utf-8") as stream:
            prompts = [row["prompt"] for row in csv.DictReader(stream)]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise CannotRunError(f"{given.prompts}: no table with a column prompt ({error})") from None
    hashes = [(name, file_sha256(places.weights / name)) for name in WEIGHTS]
    card = {
        "name": "CoDi",
        "kind": "text_to_audio_video",
        "weights": [{"name": name, "sha256": sha256, "licence": LICENCE} for name, sha256 in hashes],
        "settings": {"steps": given.steps, "scale": given.scale, "fp16": given.fp16, "frames": FRAMES},
    }
    output = given.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    todo, rows = [], []
    for number, prompt in enumerate(prompts):
        seed = given.seed * 1_000_003 + number
        made_by: dict[str, Any] = {"card": card, "prompt": prompt, "seed": seed}
        path = output / f"{number:05}-0.mp4"
        try:
            known = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        rows.append({"file": path.name, "row": number, "copy": 0, "prompt": prompt, "failure": ""})
        if known.get("made_by") != made_by or not path.is_file():
            todo.append((path, made_by, rows[-1]))
    write_json(output / "card.json", card)
    print(f"{len(prompts) - len(todo)} clips are there, {len(todo)} to make", flush=True)
    model = load(places, half=given.fp16) if todo else None
    for path, made_by, row in todo:
        for stale in (path.with_suffix(".json"), path):  # of another prompt, seed or model
            if stale.exists():
                stale.unlink()
        try:
            frames, audio = make(
                model, made_by["prompt"], seed=made_by["seed"], steps=given.steps, scale=given.scale
            )
            write_clip(path, frames, audio)
            write_json(path.with_suffix(".json"), {"file": path.name, "made_by": made_by})
        except Exception as error:  # the others may go well
            traceback.print_exc()
            row["failure"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        print(f"{path.name} {row['failure']}", flush=True)
    with (output / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["file", "row", "copy", "prompt", "failure"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return sum(1 for row in rows if row["failure"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Clips of CoDi for reproduce_tables.py (docs/systems.md).")
    parser.add_argument("--check", action="store_true", help="only look at weights, source and packages")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the four .pth files")
    parser.add_argument("--source", type=Path, required=True, help="folder i-Code-V3 of a checkout")
    parser.add_argument("--prompts", type=Path, help="table with a column prompt")
    parser.add_argument("--output", type=Path, help="folder for the clips")
    parser.add_argument("--seed", type=int, default=0, help="draws depend on this and on the row's number")
    parser.add_argument("--steps", type=int, default=50, help="DDIM steps")
    parser.add_argument("--scale", type=float, default=7.5, help="guidance scale")
    parser.add_argument("--fp16", action="store_true", help="weights of checkpoints_fp16, half precision")
    given = parser.parse_args()
    if not given.check and not (given.prompts and given.output):
        parser.error("give --prompts and --output, or --check")
    places = Places(given.weights.resolve(), given.source.resolve(), Path.cwd())
    for name in WEIGHTS:
        print(f"CoDi: {name}, licence {LICENCE}", flush=True)
    try:
        check(places)
        if given.check:
            print("CoDi: weights and packages are there", flush=True)
            return 0
        failed = make_all(given, places)
        print(f"{given.output}: {failed} failed; see manifest.csv", flush=True)
        return 3 if failed else 0
    except CannotRunError as error:
        print(error, file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
