"""What can be wrong with a media file, by name."""

from typing import Literal, get_args

Reason = Literal[
    "not_a_file",  # missing, a folder, a device, a pipe, a URL
    "unreadable",  # no permission, an input/output error
    "empty",  # zero bytes
    "unknown_format",  # not one of the containers that we open
    "undecodable",  # a known container, and no frames or audio come out of it
    "no_video",
    "no_audio",
    "too_short",  # the window reaches past the end of the video or the audio
    "too_large",  # more pixels, seconds or bytes than the caps allow
    "hdr",  # high dynamic range: PQ, HLG
    "edit_list",  # an edit list that joins several parts of the media
    "partly_decoded",  # too much of the video would be filled in: packets damaged or gone
    "not_finite",  # NaN or Inf among the samples
    "timeout",  # the wall-clock limit
    "out_of_memory",  # the memory limit
    "unsupported",  # this backend cannot honour the file's timestamps or shape; ffmpeg can
    "unwritable",  # encoding or writing failed
]


class MediaError(Exception):
    """One media file is bad, or could not be written.

    `reason` is a short name out of `Reason`, to be counted; `str(error)` is a line for a person.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        assert reason in get_args(Reason), reason
        super().__init__(reason, detail)  # both, so that it pickles
        self.reason: Reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
