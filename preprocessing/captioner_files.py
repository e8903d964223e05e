"""The files of a captioning model, of which the hash is part of what makes a dataset's rows."""

from pathlib import Path

from huggingface_hub import snapshot_download

from preprocessing.config import CaptionConfig
from syncflow.hashing import file_sha256, settings_sha256

PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.model")  # weights, settings, tokenizer
NO_FOLDERS = ("*/*",)


def captioner_sha256(config: CaptionConfig) -> str:
    """One hash of the names and bytes of the model's files; the model is not loaded.

    Raises:
        OSError, ValueError: there is no such folder or model.
    """
    folder = Path(config.location)
    if not folder.is_dir():
        found = snapshot_download(
            config.location, allow_patterns=list(PATTERNS), ignore_patterns=list(NO_FOLDERS)
        )
        folder = Path(found)
    files = sorted({path for pattern in PATTERNS for path in folder.glob(pattern) if path.is_file()})
    if not any(path.suffix == ".safetensors" for path in files):
        raise ValueError(f"{folder}: no safetensors")
    return settings_sha256({path.name: file_sha256(path) for path in files})
