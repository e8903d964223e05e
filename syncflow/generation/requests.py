"""What is to be made: one row a prompt or a video."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from syncflow.errors import UserError
from syncflow.generation.config import EvaluationInputs, GenerateConfig
from syncflow.media.clip_folder import captions_by_id, clip_id, ids_of_split, media_files
from syncflow.media.evaluation_set import read_evaluation_set
from syncflow.media.suffixes import VIDEO_SUFFIXES
from syncflow.sampling.checks import check_prompts


@dataclass(frozen=True, kw_only=True)
class Row:
    """One request; noise is keyed by its number."""

    number: int
    prompt: str  # empty only with a video: the learned null prompt
    video: Path | None
    start_s: float = 0.0  # where in the video the clip starts
    evaluation_id: str = ""  # of the evaluation set's row


def read_rows(config: GenerateConfig) -> list[Row]:
    """The rows of --prompt, --prompts, --video or --evaluation-set, in order, at most `limit` of them.

    Raises:
        UserError: none or two of them given, a file that cannot be read, or an empty or endless prompt.
    """
    if config.evaluation_set is not None:
        if config.prompt or config.prompts is not None or config.video is not None:
            raise UserError(
                "evaluation_set: holds the prompts and the videos; leave --prompt, --prompts and --video out"
            )
        rows = _of_evaluation_set(config.evaluation_set, config.evaluation_inputs)[: config.limit or None]
    else:
        rows = [Row(number=n, prompt=p, video=v) for n, (p, v) in enumerate(_given(config))]
    if not any(row.video for row in rows):
        _refuse_keeping_nothing(config)
    for row in rows:
        if row.prompt or row.video is None:
            check_prompts([row.prompt], name=f"row {row.number}: prompt")
    return rows


def _given(config: GenerateConfig) -> list[tuple[str, Path | None]]:
    """Prompt and video of each row of --prompt, --prompts or --video."""
    if config.video is not None:
        if config.prompts is not None or len(config.prompt) > 1:
            raise UserError(
                "video: takes one --prompt at most; a table with prompt and video goes in --prompts"
            )
        pairs = _of_videos(config.video, prompt=config.prompt[0] if config.prompt else "", split=config.split)
    elif config.prompts is not None:
        if config.prompt:
            raise UserError("prompts: give --prompt or --prompts, not both")
        pairs = _of_file(config.prompts)
    else:
        pairs = [(prompt, None) for prompt in config.prompt]
    if not pairs:
        raise UserError("prompt: none given; use --prompt TEXT, --prompts FILE or --video FILE")
    return [(prompt.strip(), video) for prompt, video in pairs[: config.limit or None]]


def _of_evaluation_set(path: Path, inputs: EvaluationInputs) -> list[Row]:
    """Its rows in order, each under its id."""
    rows = []
    for number, clip in enumerate(read_evaluation_set(path)):
        video = clip.path if inputs != "prompt" else None
        rows.append(
            Row(
                number=number,
                prompt=clip.prompt.strip() if inputs != "video" else "",
                video=video,
                start_s=clip.start_s if video else 0.0,
                evaluation_id=clip.id,
            )
        )
    return rows


def _refuse_keeping_nothing(config: GenerateConfig) -> None:
    for name in ("keep_video", "keep_audio", "strength"):
        if getattr(config, name) != GenerateConfig.model_fields[name].default:
            raise UserError(f"{name}: set, but nothing is given; use --video FILE or a table with `video`")


def _of_videos(path: Path, *, prompt: str, split: str) -> list[tuple[str, Path | None]]:
    if not path.exists():
        raise UserError(f"video {path}: no such file or folder")
    if path.is_file():
        return [(prompt, path)]
    files = media_files(path)
    if split != "all":
        ids = set(ids_of_split(path, split))
        files = [p for p in files if clip_id(p) in ids]
    if not files:
        known = ", ".join(sorted(VIDEO_SUFFIXES))
        raise UserError(f"video {path}: no clips in it; expected one of {known}")
    captions = {} if prompt else captions_by_id(path)
    return [(prompt or captions.get(clip_id(p), ""), p) for p in files]


def _of_file(path: Path) -> list[tuple[str, Path | None]]:
    if path.suffix == ".txt":
        return [(line.strip(), None) for line in _text(path).split("\n") if line.strip()]
    if path.suffix == ".csv":
        rows: Sequence[Mapping[str, str]] = _table(path, required=("prompt",))
    elif path.suffix == ".jsonl":
        rows = _json_lines(path)
    elif path.suffix == ".parquet":
        rows = _parquet(path)
    else:
        raise UserError(f"prompts {path}: expected a .txt, .csv, .jsonl or .parquet file")
    if rows and {"id", "video", "start_s"} <= rows[0].keys():
        raise UserError(f"prompts {path}: is an evaluation set; give it as --evaluation-set")
    return [
        ((row["prompt"] or "").strip(), path.parent / row["video"] if row.get("video") else None)
        for row in rows
    ]


def _table(path: Path, *, required: tuple[str, ...]) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    try:
        missing = [name for name in required if name not in (reader.fieldnames or [])]
        if missing:
            raise UserError(
                f"{path}: no column {missing[0]!r}; its first line must name {', '.join(required)}"
            )
        return list(reader)
    except csv.Error as error:
        raise UserError(f"{path}: no csv after line {reader.line_num} ({error}); quote the field") from None


def _json_lines(path: Path) -> list[dict[str, str]]:
    rows = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: line {number} is not JSON ({error.msg})") from None
        if not isinstance(row, dict) or not isinstance(row.get("prompt", None), str):
            raise UserError(f"{path}: line {number} has no text under 'prompt'")
        rows.append(row)
    return rows


def _parquet(path: Path) -> list[dict[str, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        table = pq.read_table(path, columns=[name for name in ("prompt", "video") if name in names])
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"prompts {path}: cannot be read as Parquet ({' '.join(str(error).split())})"
        ) from None
    if "prompt" not in names:
        raise UserError(f"{path}: no column 'prompt'")
    wrong = [f for f in table.schema if not (pa.types.is_string(f.type) or pa.types.is_large_string(f.type))]
    if wrong:
        raise UserError(f"{path}: column {wrong[0].name!r} is {wrong[0].type}; expected text")
    return table.to_pylist()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from None
