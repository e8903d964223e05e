"""The file names that are taken for media, of the containers that are opened: one list for the project."""

VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2"),  # mov
        *(".mkv", ".webm"),  # matroska
        *(".avi", ".divx"),  # avi
        *(".ts", ".m2ts", ".mts", ".m2t"),  # mpegts
        *(".mpg", ".mpeg", ".m2p", ".vob"),  # mpeg
        *(".flv", ".f4v"),  # flv, mov
        *(".ogv", ".ogm"),  # ogg
        *(".wmv", ".asf"),  # asf
        ".mxf",
    )
)
AUDIO_SUFFIXES = frozenset((".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".mka", ".wma"))


def has_video_suffix(name: str) -> bool:
    """Whether a file's name says that it holds video; case does not matter."""
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in VIDEO_SUFFIXES
