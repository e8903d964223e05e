"""What `_times.txt` of Greatest Hits tells of a stretch of a video, as a sentence."""

from preprocessing.sources.text_files import read_lines
from syncflow.errors import UserError
from syncflow.storage import Location

VERBS = {"hit": "hits", "scratch": "scratches"}


def times_sentence(root: Location, video: str, *, start_s: float, duration_s: float | None) -> str:
    """As `A drumstick hits metal and scratches wood.`

    Empty when the file is missing or tells nothing. Its lines: time material action reaction.

    Args:
        duration_s: length of the stretch, seconds; None: to the end.

    Raises:
        UserError: (with the line's number) another form of line.
    """
    path = root / f"{video}_times.txt"
    if not path.is_file():
        return ""
    end_s = float("inf") if duration_s is None else start_s + duration_s
    told: dict[str, None] = {}
    for line, text in read_lines(path):
        fields = text.split()
        try:
            time_s, material, action = float(fields[0]), fields[1], fields[2]
        except (ValueError, IndexError):
            raise UserError(f"{path}, line {line}: {text[:60]!r}; expected time material action") from None
        if start_s <= time_s < end_s and material != "None":
            told[f"{VERBS.get(action, 'touches')} {material.replace('-', ' ')}"] = None
    return f"A drumstick {' and '.join(told)}." if told else ""
