"""A file where a folder is expected: one line that says so, with the folder that it lies in."""

from collections.abc import Callable
from pathlib import Path

import pytest

from preprocessing.sources.media_files import require_folder
from syncflow.autoencoders.loading import load_video_vae
from syncflow.data.windows.decode import check_clips
from syncflow.errors import UserError
from syncflow.evaluation.evaluation_set import reference_clips
from syncflow.evaluation.suite import list_clips
from syncflow.model.open_sora import checkpoint_folder
from syncflow.shipped import checked_folder
from syncflow.systems.config import MakeAudioConfig
from syncflow.systems.make_audio import read_rows

OPENERS: dict[str, Callable[[Path], object]] = {
    "evaluate.py --clips": list_clips,
    "evaluate.py --metrics.reference": lambda path: reference_clips(path, split="all"),
    "generate.py --checkpoint": checked_folder,
    "train_autoencoder.py --clips": lambda path: check_clips(path, setting="clips"),
    "make_audio.py --video": lambda path: read_rows(MakeAudioConfig.model_construct(video=path)),
    "precompute_latents.py --source.root": lambda path: require_folder(str(path), source="folder"),
    "precompute_latents.py --encode.video-vae": lambda path: load_video_vae(str(path)),
    "train_stage.py --initialise-from": checkpoint_folder,
}


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_it_is_told_as_a_file_with_its_folder(
    opener: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "film.mp4").touch()
    with pytest.raises(UserError) as raised:
        opener(tmp_path / "film.mp4")
    assert f"film.mp4: is a file, not a folder; it lies in {tmp_path}" in str(raised.value).replace("'", "")
    with pytest.raises(UserError, match="no such folder"):
        opener(tmp_path / "other.mp4")
