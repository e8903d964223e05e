"""Any folder of clips: an id is a file's path under the folder, its captions come from a table."""

from collections.abc import Iterator

from preprocessing.sources.captions import Captions
from preprocessing.sources.config import SourceConfig
from preprocessing.sources.media_files import media_files
from preprocessing.sources.passed_over import PassedOver
from syncflow.printable import printable
from syncflow.records import ClipRef
from syncflow.storage import Location

DATASET = "folder"


def read_folder(
    config: SourceConfig, *, root: Location, captions: Captions, passed_over: PassedOver
) -> Iterator[tuple[str, ClipRef]]:
    """One clip a media file; the captions table may name it with or without its suffix."""
    for name, file in media_files(root, passed_over):
        names = (name, name.removesuffix(file.suffix), printable(name))
        yield (
            f"{file}",
            ClipRef(
                dataset=DATASET,
                clip_id=name,
                path=file,
                caption=captions.clip(*names),
                window_captions=captions.windows(*names),
            ),
        )
