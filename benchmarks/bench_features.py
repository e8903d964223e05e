"""Features of many clips: memory as they come, a kill in the middle, one broken clip, seconds per backbone.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/bench_features.py --output out/features

The clips are copies of a few synthetic ones with distinct bytes: an empty box at the end of each mp4 holds
its number. Networks of the paper's metrics get weights that were never trained, which take as long.
"""

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch
from pydantic import Field
from torch import nn

from preprocessing.synthetic.clips import write_clips
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config, load_config
from syncflow.evaluation.backbone_config import BackboneConfig
from syncflow.evaluation.backbones import Backbones
from syncflow.evaluation.extraction import clip_item, extract, store_of
from syncflow.evaluation.extractors.base import DecodedMedia, Extractor
from syncflow.evaluation.metrics.distances import frechet_distance, gaussian_kernel_distance
from syncflow.evaluation.metrics.interval import draw_counts
from syncflow.media import decode_window
from syncflow.media.clip_folder import media_files
from syncflow.media.evaluation_set import ClipFile
from syncflow.records import ClipSpec
from syncflow.shipped import find_preset

VGGSOUND = 15_446  # test clips
MIB = 2**20


class FeaturesBenchConfig(Config):
    """How many clips, and which backbones."""

    output: Path
    """Folder for the clips, the features and figures.json."""
    count: int = Field(default=2000, ge=8)
    """Clips whose features are kept."""
    originals: int = Field(default=8, ge=1)
    """Different clips among them."""
    kept: tuple[str, ...] = ("levels", "aisfx")
    """Extractors that run over all clips."""
    timed: int = Field(default=2, ge=1)
    """Clips on which each other backbone is timed."""
    imagebind: bool = True
    """Whether ImageBind is timed too, which takes 5 GB of memory."""
    backbones: BackboneConfig = BackboneConfig()
    """The open backbones' folder."""
    stop_after: int = 0
    """Clips after which the process ends itself by SIGKILL, as this command starts itself; 0: never."""


def write_copies(config: FeaturesBenchConfig) -> list[Path]:
    """`count` mp4 files of distinct bytes, of which the last is cut off."""
    drawn = load_config(
        SyntheticClipsConfig,
        find_preset(Path("tiny/clips")),
        {"output": str(config.output / "originals"), "count": config.originals, "workers": 1},
    )
    write_clips(drawn)
    originals = [path.read_bytes() for path in media_files(drawn.output)]
    folder = config.output / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05}.mp4" for number in range(config.count)]
    for number, path in enumerate(paths):
        content = originals[number % len(originals)]
        path.write_bytes(content + struct.pack(">I4sI", 12, b"free", number))
    paths[-1].write_bytes(originals[0][:200])
    return paths


def keep_features(config: FeaturesBenchConfig, extractors: list[Extractor]) -> dict[str, object]:
    """Features of every clip, and this process's memory on the way."""
    paths = [config.output / "clips" / f"{number:05}.mp4" for number in range(config.count)]
    spec = ClipSpec(height=64, width=64)
    memory: dict[int, float] = {}
    start = time.process_time()
    items = [clip_item(ClipFile(id=path.stem, path=path), spec) for path in paths]
    listed = time.process_time() - start

    def report(done: int) -> None:
        if done % 200 < 8:
            memory.setdefault(done // 200 * 200, psutil.Process().memory_info().rss / MIB)
        if config.stop_after and done >= config.stop_after:
            os.kill(os.getpid(), signal.SIGKILL)

    found = extract(items, extractors, root=config.output / "features", report=report)
    stored = sum(p.stat().st_size for p in (config.output / "features").rglob("*.parquet"))
    return {
        "computed": dict(found.computed),
        "failures": {name: list(reasons.values()) for name, reasons in found.failures.items()},
        "memory_mib": memory,
        "list_s": listed,
        "processor_s": time.process_time() - start,
        "stored_mib": stored / MIB,
        "bytes_per_clip": stored / config.count,
    }


def distances_of(count: int, width: int) -> dict[str, float]:
    """Both set distances, with the bootstrap of the kernel distance, at the size of VGGSound's test set."""
    generator = np.random.default_rng(0)
    first, second = (generator.normal(size=(count, width)).astype(np.float32) for _ in range(2))
    start = time.process_time()
    frechet_distance(first, second)
    middle = time.process_time()
    weights = tuple(draw_counts(count, draws=200, seed=seed) for seed in (0, 1))
    gaussian_kernel_distance(first, second, weights=(weights[0], weights[1]))
    return {
        "frechet_s": middle - start,
        "kernel_s": time.process_time() - middle,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def filled(build: Callable[[], nn.Module]) -> nn.Module:
    """A network of the right sizes in evaluation mode whose weights are all one small number."""
    with torch.device("meta"):
        module = build()
    module = module.to_empty(device="cpu").eval().requires_grad_(False)
    for tensor in [*module.parameters(), *module.buffers()]:
        tensor.fill_(0.01 if tensor.is_floating_point() else 0)
    return module


def untrained(config: FeaturesBenchConfig) -> dict[str, Callable[[], Extractor]]:
    """The backbones of the paper's metrics, without their weights."""
    from transformers import ASTConfig, ASTForAudioClassification, ClapModel

    from syncflow.evaluation.extractors import (
        ast_classes,
        clap,
        i3d,
        imagebind,
        imagebind_clips,
        panns,
        passt,
        settings,
        vggish,
        vggishish,
    )

    fixed = {"weights_sha256": "none", "device": "cpu"}
    bands = {"means": np.zeros(80, np.float32), "stds": np.ones(80, np.float32)}
    classes = ASTConfig(num_labels=527)

    def bound() -> imagebind.LoadedImageBind:
        return imagebind.loaded_imagebind(
            filled(imagebind.ImageBind), settings=settings.ImageBindSettings(), **fixed
        )

    return {
        "vggish": lambda: vggish.VGGishExtractor(
            filled(vggish.VGGish), settings=settings.VGGishSettings(), **fixed
        ),
        "i3d": lambda: i3d.I3DExtractor(
            filled(lambda: i3d.I3D(epsilon=1e-5)), settings=settings.I3DSettings(), **fixed
        ),
        "panns": lambda: panns.PannsExtractor(
            filled(panns.Cnn14), settings=settings.PannsSettings(), **fixed
        ),
        "vggishish": lambda: vggishish.VGGishishExtractor(
            filled(vggishish.VGGishish), bands, settings=settings.VGGishishSettings(), **fixed
        ),
        "passt": lambda: passt.PasstExtractor(
            filled(passt.Passt), settings=settings.PasstSettings(), **fixed
        ),
        "ast": lambda: ast_classes.AstExtractor(
            ASTForAudioClassification(classes), settings=settings.AstSettings(), **fixed
        ),
        "clap_audio": lambda: clap.ClapAudio(
            clap.Clap(
                ClapModel(clap.laion_config(fused=False, base=False)).eval(),
                None,
                settings=settings.ClapSettings(),
                **fixed,
            )
        ),
        **({"imagebind_video": lambda: imagebind_clips.ImageBindVideo(bound())} if config.imagebind else {}),
        **({"imagebind_audio": lambda: imagebind_clips.ImageBindAudio(bound())} if config.imagebind else {}),
    }


def seconds_of(extractor: Extractor, clips: list[DecodedMedia]) -> float:
    """Processor seconds of a clip, after one that is not counted."""
    extractor(clips[:1])
    start = time.process_time()
    extractor(clips)
    return (time.process_time() - start) / len(clips)


def times_of(config: FeaturesBenchConfig, paths: list[Path]) -> dict[str, float]:
    """Seconds of a 2 s clip at 256 x 256 for every backbone, and for decoding."""
    spec, clips = ClipSpec(), []
    start = time.process_time() + sum(psutil.Process().cpu_times()[2:4])
    for path in paths[: config.timed]:
        frames, audio = decode_window(path.resolve(), start_s=0.0, spec=spec)
        clips.append(DecodedMedia(frames=frames, fps=spec.fps, audio=audio, sample_rate=spec.sample_rate))
    spent = time.process_time() + sum(psutil.Process().cpu_times()[2:4]) - start
    found = {"decoding": spent / config.timed}
    held = Backbones(config.backbones)
    for name in ("levels", "av_align", "aisfx", "soundnet", "efficientnet_lite0", "transnetv2"):
        found[name] = seconds_of(held.extractor(name), clips)
        print(f"{name}: {found[name]:.3f} s", flush=True)
    for name, build in untrained(config).items():
        found[name] = seconds_of(build(), clips)
        print(f"{name}: {found[name]:.3f} s", flush=True)
    return found


def killed_on_the_way(config: FeaturesBenchConfig) -> int:
    """The same command, which ends itself by SIGKILL after a fifth of the clips; how many it had kept."""
    command = [sys.executable, __file__, "--output", str(config.output), "--count", str(config.count)]
    command += ["--kept", *config.kept, "--stop-after", str(config.count // 5)]
    command += ["--backbones.folder", str(config.backbones.folder)]
    done = subprocess.run(command, check=False)
    assert done.returncode == -signal.SIGKILL, done.returncode
    held = Backbones(config.backbones)
    return len(store_of(held.extractor(config.kept[0]), config.output / "features").known())


def main() -> None:
    config = parse_arguments(FeaturesBenchConfig, description=__doc__ or "")
    held = Backbones(config.backbones)
    extractors = [held.extractor(name) for name in config.kept]
    if config.stop_after:
        keep_features(config, extractors)
        return
    paths = write_copies(config)
    figures: dict[str, object] = {"clips": config.count, "kept_before_the_kill": killed_on_the_way(config)}
    print(f"killed after {figures['kept_before_the_kill']} clips", flush=True)
    figures["features"] = keep_features(config, extractors)
    print(json.dumps(figures["features"], indent=1), flush=True)
    figures["distances"] = distances_of(VGGSOUND, 512)
    print(json.dumps(figures["distances"]), flush=True)
    figures["seconds"] = times_of(config, paths)
    (config.output / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    run(main)
