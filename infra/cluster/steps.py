"""The steps of the paper's systems on a cluster, in order: what each runs, and what it takes.

<storage>/weights/                 text_encoder, captioner, video_tower, video_vae, as safetensors
<storage>/<dataset>/               lists, audio_vae, latents, runs of each system, generated, scores
<storage>/comparison
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.cluster.config import ClusterConfig, DatasetConfig, System

# folder under the dataset's, and stage, of what each training preset makes
TRAINED: dict[System, tuple[str, str]] = {
    "video": ("runs", "video"),
    "audio": ("runs", "audio"),
    "joint": ("runs", "joint"),
    "audio_no_adaptor": ("runs_no_adaptor", "audio"),
    "audio_text": ("runs_text_to_audio", "audio"),
    "single_stage": ("runs_single_stage", "joint"),
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One RayJob."""

    name: str  # vggsound-precompute
    file: str  # vggsound/03-precompute.yaml
    command: list[str]
    gpus: int = 0  # in all
    cpu_nodes: int = 1  # at most
    offline: bool = True  # nothing is downloaded


def steps(config: ClusterConfig) -> list[Step]:
    """All of them, in an order in which they can run one after the other."""
    found = [*_weights(config)]
    for name, dataset in config.datasets.items():
        found += [
            Step(
                name=f"{name}-{each.name}".replace("_", "-"),
                file=f"{name}/{number:02}-{each.file}.yaml",
                command=each.command,
                gpus=each.gpus,
                cpu_nodes=each.cpu_nodes,
            )
            for number, each in enumerate(_of_dataset(name, dataset, config), start=1)
        ]
    return found


def _command(config: ClusterConfig, pipeline: str, *arguments: str) -> list[str]:
    return [config.python, f"{config.code}/pipelines/{pipeline}", *arguments]


def _weights(config: ClusterConfig) -> Iterator[Step]:
    for name, source in config.weights.model_dump().items():
        arguments = ["--source", source, "--output", f"{config.storage_path}/weights/{name}"]
        yield Step(
            name=f"weights-{name}".replace("_", "-"),
            file=f"weights/{name}.yaml",
            command=_command(config, "convert_weights.py", *arguments),
            offline=config.offline,
        )


def _of_dataset(name: str, dataset: DatasetConfig, config: ClusterConfig) -> Iterator[Step]:
    presets = dataset.preset or name
    if not presets.startswith("/"):
        presets = f"{config.code}/pipelines/configs/{presets}"
    place, weights = f"{config.storage_path}/{name}", f"{config.storage_path}/weights"
    audio_vae = dataset.audio_vae or f"{place}/audio_vae"
    tracking = ["--tracking-uri", config.tracking_uri, "--experiment", f"syncflow-{name}"]

    def step(
        kind: str, pipeline: str, *flags: str, preset: str = "", gpus: int = 0, cpu_nodes: int = 1
    ) -> Step:
        arguments = ["--config", f"{presets}/{preset or kind}.yaml", *flags]
        command = _command(config, pipeline, *arguments)
        return Step(name=kind, file=kind, command=command, gpus=gpus, cpu_nodes=cpu_nodes)

    source = _source(dataset)
    yield step("list_clips", "list_clips.py", *source, "--output", f"{place}/lists")
    if not dataset.audio_vae:
        yield step(
            "audio_vae",
            "train_autoencoder.py",
            *("--clips", f"{place}/lists/train.txt", "--held-out", f"{place}/lists/test.txt"),
            *("--output", audio_vae, "--workers", str(dataset.audio_vae_workers), *tracking),
            gpus=dataset.audio_vae_workers,
            cpu_nodes=config.cpu_nodes,
        )
    yield step(
        "precompute",
        "precompute_latents.py",
        *(*source, "--encode.video-vae", f"{weights}/video_vae", "--encode.audio-vae", audio_vae),
        *("--encode.text.location", f"{weights}/text_encoder", "--caption.model", f"{weights}/captioner"),
        *("--output", f"{place}/latents"),
        *(["--stages", "split"] if dataset.precompute_gpus and config.cpu_nodes else []),  # CPU pods decode
        gpus=dataset.precompute_gpus,
        cpu_nodes=config.cpu_nodes,
    )
    for system in dataset.systems:
        folder, _ = TRAINED[system]
        yield step(
            f"train_{system}",
            "train_stage.py",
            *(
                "--data",
                f"{place}/latents",
                "--output",
                f"{place}/{folder}",
                *_start(system, dataset, place, weights),
            ),
            *("--workers", str(dataset.workers), *tracking),
            preset=system,
            gpus=dataset.workers,
        )
    made: list[System] = [system for system in dataset.systems if system != "video"]
    for system in made:
        folder, stage = TRAINED[system]
        yield step(
            f"generate_{system}",
            "generate.py",
            *(
                "--checkpoint",
                f"{place}/{folder}/{stage}/checkpoint",
                "--prompts",
                f"{place}/lists/prompts.csv",
            ),
            *("--output", f"{place}/generated/{system}", "--executor", "ray"),
            preset="generate",
            gpus=dataset.generate_gpus,
        )
    clips = [f"{place}/generated/{system}" for system in made]
    yield step("evaluate", "evaluate.py", "--clips", *clips, "--output", f"{place}/scores", *tracking)
    compare = _command(config, "compare_runs.py", *tracking, "--output", f"{place}/comparison")
    yield Step(name="compare", file="compare", command=compare)


def _source(dataset: DatasetConfig) -> list[str]:
    flags = ["--source.root", dataset.root]
    for name in ("index", "captions", "known_bad"):
        if (value := getattr(dataset, name)) is not None:
            flags += [f"--source.{name.replace('_', '-')}", str(value)]
    return flags


def _start(system: System, dataset: DatasetConfig, place: str, weights: str) -> list[str]:
    """Stage 1 and 2 begin with Open-Sora's video tower, or stage 2 with stage 1 where that is trained."""
    if system in ("joint", "single_stage"):
        return []  # their presets say: the stage before, or nothing
    tower = f"{weights}/video_tower"
    if system != "video" and "video" in dataset.systems:
        tower = str(Path(place) / "runs" / "video" / "checkpoint")
    return ["--initialise-from", tower]
