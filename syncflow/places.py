"""Where things lie, as settings say it: folders that may also be hub names, and MLflow's stores.

A setting leaves the process (Ray workers, manifests, MLflow), so what is relative here is made absolute, and
`~` is the home folder.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import unquote

import pydantic

SQLITE = "sqlite:///"
P = TypeVar("P", str, Path)
KEYWORDS = ("", "auto", "none")  # of settings that name a place; never folders


@dataclass(frozen=True, kw_only=True)
class FolderOrName:
    """Marks a setting that names a folder here, or something elsewhere: a hub id, a URL."""

    hub: bool = True  # whether it may be a hub id


def expand_home(path: Path) -> Path:
    """`path`, whose first part may be `~`."""
    return path.expanduser() if path.parts[:1] == ("~",) else path


def _expand(text: str) -> str:
    return str(Path(text).expanduser()) if text == "~" or text.startswith("~/") else text


Place = Annotated[str, pydantic.AfterValidator(_expand), FolderOrName()]
"""A folder here, or a name elsewhere (hub id, URL)."""
FolderOrUrl = Annotated[str, pydantic.AfterValidator(_expand), FolderOrName(hub=False)]
"""A folder here, or a URL."""
PathOrHub = Annotated[Path, FolderOrName()]
"""A folder here, or a hub id."""


def absolute_place(place: P) -> P:
    """`place` with an absolute path, where it names a file or folder of this machine.

    Names of what is elsewhere (a hub id, a URL) or shipped (`tiny`), keywords and `Path()`, which says that
    nothing was set, come back as they are.
    """
    if str(place) in KEYWORDS or place == Path() or not Path(place).exists():
        return place
    return type(place)(Path(place).resolve())


def not_a_folder(place: str | Path) -> str:
    """Why there is no folder at a place, for a message: nothing is there, or a file, whose folder is told."""
    path = Path(place)
    return f"is a file, not a folder; it lies in {path.parent}" if path.is_file() else "no such folder"


def sqlite_uri(path: Path) -> str:
    """MLflow's URI of a SQLite file, absolute; characters that a URI reads otherwise are escaped."""
    return SQLITE + str(expand_home(path).resolve()).replace("%", "%25").replace("?", "%3F")


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite URI; None for another kind of store."""
    return Path(unquote(uri.removeprefix(SQLITE).partition("?")[0])) if uri.startswith(SQLITE) else None


def absolute_store(uri: str) -> str:
    """MLflow's store with an absolute path, where it is a SQLite file."""
    path = sqlite_file(uri)
    if path is None or str(path) in ("", ".", ":memory:"):
        return uri
    _, mark, options = uri.partition("?")
    return sqlite_uri(path) + mark + options


StoreUri = Annotated[str, pydantic.AfterValidator(absolute_store)]
"""MLflow's store or server; a relative SQLite file is one of the working directory."""


def store_of(uri: str, *, beside: Path) -> str:
    """The store that a `tracking_uri` means: empty is mlflow.db in the folder `beside`; `none` is none."""
    if uri == "none":
        return ""
    return uri or sqlite_uri(beside / "mlflow.db")
