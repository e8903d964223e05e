"""What a dataset of latents holds: dataset card, verification, windows decoded to mp4."""

import contextlib
from pathlib import Path

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.data.config import InspectConfig


def main() -> int:
    config = parse_arguments(InspectConfig, description=__doc__ or "")

    from syncflow.data.dataset_card import dataset_card, write_card
    from syncflow.data.upgrade import upgrade_dataset

    if config.upgrade:
        upgrade_dataset(config.dataset, video_vae=config.video_vae)
        print(f"{config.dataset}: its index is written, its manifest is that of this version")
    if config.verify and (status := verify(config.dataset)):
        return status  # the card would read what has a fault
    print(card := dataset_card(config.dataset))
    if config.card:
        write_card(config.dataset, card)
    if config.webdataset:
        from syncflow.data.webdataset import export_webdataset

        print(f"{config.webdataset}: {len(export_webdataset(config.dataset, config.webdataset))} tar files")
    clips = decode_sample(config) if config.sample else []
    if config.report:
        from syncflow.studies.dataset_report import write_dataset_report

        print(write_dataset_report(config.dataset, clips))
    return 0


def verify(folder: Path) -> int:
    """Print every fault; exit status 1 when there is one."""
    from preprocessing.verify_weights import check_weights
    from syncflow.data.parquet import DatasetManifest
    from syncflow.data.verify import find_faults

    faults = list(find_faults(folder))
    with contextlib.suppress(ValueError):  # a manifest that cannot be read is among the faults
        for check in check_weights(DatasetManifest.read(folder)):
            print(f"weights of the {check.name}: {check.kind} ({check.detail})")
            faults += [f"weights of the {check.name}: {check.detail}"] if check.kind == "changed" else []
    for fault in faults:
        print(f"fault: {fault}")
    print(f"{folder}: {len(faults)} faults" if faults else f"{folder}: verified, no fault")
    return 1 if faults else 0


def decode_sample(config: InspectConfig) -> list[tuple[Path, str]]:
    """Write a few windows as mp4 with the autoencoders that the dataset names; files and captions."""
    from preprocessing.load_encoders import load_video_vae
    from syncflow.autoencoders.audio_vae import AudioVAE
    from syncflow.autoencoders.loading import load_vae
    from syncflow.data.index import WindowIndex
    from syncflow.data.inspect import choose_windows, write_windows

    windows = WindowIndex(config.dataset)
    written = write_windows(
        choose_windows(windows, count=config.sample, seed=config.seed),
        config.output,
        spec=windows.manifest.spec,
        video_vae=load_video_vae(windows.manifest.video_vae.location),
        audio_vae=load_vae(AudioVAE, Path(windows.manifest.audio_vae.location)),
    )
    print(f"{len(written)} windows decoded to {config.output}")
    return written


if __name__ == "__main__":
    run(main)
