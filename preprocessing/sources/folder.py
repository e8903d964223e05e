"""Any folder of clips: an id is a file's path under the folder, its captions come from a table."""

from collections.abc import Iterator

from preprocessing.sources.config import SourceConfig
from preprocessing.sources.media_files import media_files, require_folder
from preprocessing.sources.text_files import read_captions
from syncflow.records import ClipRef

DATASET = "folder"


def read_folder(config: SourceConfig) -> Iterator[ClipRef]:
    """One clip a media file; the captions table may name it with or without its suffix."""
    root = require_folder(config.root, source=DATASET)
    captions = read_captions(config.captions) if config.captions else {}
    for path in media_files(root):
        clip_id = path.relative_to(root).as_posix()
        caption = captions.get(clip_id) or captions.get(clip_id.removesuffix(path.suffix), "")
        yield ClipRef(dataset=DATASET, clip_id=clip_id, path=path, caption=caption)
