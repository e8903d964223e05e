"""What a job is about: its clips, and its settings with every place in them absolute."""

import dataclasses

from preprocessing.config import PrecomputeConfig
from preprocessing.sources.read import Listing, list_source
from syncflow.config import with_absolute_paths
from syncflow.errors import UserError
from syncflow.places import absolute_place
from syncflow.storage import location


def list_clips(config: PrecomputeConfig) -> Listing:
    """The clips of the source, of which those are chosen that `source.split`, `source.limit` and `only` name.

    Raises:
        UserError: what the source refuses, or `only` names no clip of it.
    """
    listing = list_source(config.source)
    if not config.only:
        return listing
    chosen = [ref for ref in listing.clips if ref.clip_id == config.only]
    if not chosen:
        raise UserError(f"--only {config.only!r}: no such clip in {config.source.root}")
    return dataclasses.replace(listing, chosen=chosen)


def anchored(config: PrecomputeConfig) -> PrecomputeConfig:
    """The settings as another process, or another day, in another folder can use them.

    Models are named by a folder or by their name on a hub: what is a folder here is made absolute.
    """
    config = with_absolute_paths(config)
    source = config.source.model_copy(update={"root": str(location(config.source.root))})
    encode = config.encode.model_copy(
        update={
            "video_vae": absolute_place(config.encode.video_vae),
            "audio_vae": absolute_place(config.encode.audio_vae),
            "text": config.encode.text.model_copy(
                update={"location": absolute_place(config.encode.text.location)}
            ),
        }
    )
    caption = config.caption.model_copy(update={"model": absolute_place(config.caption.model)})
    return config.model_copy(update={"source": source, "encode": encode, "caption": caption})
