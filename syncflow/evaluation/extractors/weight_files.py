"""Where a backbone's weights are found, and what is said when they are not: never a number without them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from syncflow.errors import UserError
from syncflow.hashing import file_sha256
from syncflow.pretrained import load_whole

M = TypeVar("M", bound=nn.Module)
CONVERT = "python pipelines/convert_weights.py"
FETCH = "python pipelines/fetch_backbones.py"


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A public checkpoint: what it is called, where it comes from, and under which licence."""

    name: str  # upstream file name
    source: str  # repository or site that publishes it
    licence: str
    megabytes: int | None  # None: not known
    as_it_is: bool = False  # it is read in its own format
    fetched: bool = False  # pipelines/fetch_backbones.py brings it

    @property
    def converted(self) -> str:
        """Name of what is read: its tensors as safetensors, the folder of a published model, or itself."""
        if self.as_it_is or self.name.endswith("/"):
            return self.name
        return f"{Path(self.name).stem}.safetensors"

    @property
    def needs(self) -> str:
        """One line for a person who does not have it."""
        size = "size not known" if self.megabytes is None else f"{self.megabytes} MB"
        return f"{self.name} ({size}, {self.licence}) from {self.source}"


class MissingWeightsError(UserError):
    """A backbone's file is not there; `file` says which."""

    def __init__(self, file: WeightFile, folder: Path) -> None:
        self.file = file
        pickled = folder / file.name
        if pickled.is_file() and pickled.suffix != ".safetensors":
            remedy = f"convert it once: {CONVERT} --source {pickled} --output {folder / file.converted}"
        elif file.fetched:
            remedy = f"{FETCH} brings it"
        elif file.as_it_is:
            remedy = "put it there as it is"
        elif file.name.endswith("/"):
            remedy = "download that folder there, with model.safetensors and its tokenizer"
        else:
            remedy = f"put it there, converted by {CONVERT} unless it is safetensors already"
        super().__init__(f"{folder / file.converted}: no such file; it is {file.needs}; {remedy}")


def find(file: WeightFile, folder: Path) -> Path:
    """The file's converted form in `folder`.

    Raises:
        MissingWeightsError: it is not there.
    """
    path = folder / file.converted
    if not path.is_file():
        raise MissingWeightsError(file, folder)
    return path


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        UserError: it is damaged or of another kind.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not a safetensors file ({error}); convert it with {CONVERT}") from None


def load(
    build: Callable[[], M],
    file: WeightFile,
    folder: Path,
    *,
    rename: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = lambda tensors: tensors,
) -> tuple[M, str]:
    """The module that `build` makes, with the file's weights, in evaluation mode; and the file's sha256.

    Args:
        rename: from upstream's names to the module's; what it leaves out is ignored.

    Raises:
        MissingWeightsError: no such file.
        UserError: its names or shapes are not the backbone's.
    """
    path = find(file, folder)
    return with_weights(build, rename(read(path)), source=str(path)), file_sha256(path)


def published_model(cls: Any, file: WeightFile, folder: Path) -> tuple[Any, str]:
    """A model of transformers from its published folder in `folder`, and the sha256 of its weights.

    Args:
        cls: transformers' class of the model, for example ClapModel.

    Raises:
        MissingWeightsError: the folder, or its weights, are not there.
        UserError: it cannot be read, or its tensors are not all those of the model: transformers would fill
            in random ones.
    """
    place = folder / file.name
    weights = place / "model.safetensors"
    if not weights.is_file():
        raise MissingWeightsError(file, folder)
    try:
        model = load_whole(cls, place, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{place}: cannot be read ({reason}); it should be {file.needs}") from None
    return model.eval().requires_grad_(False), file_sha256(weights)


def with_weights(build: Callable[[], M], tensors: Mapping[str, Tensor], *, source: str) -> M:
    """The module that `build` makes, holding `tensors`; every name and shape must fit.

    Raises:
        UserError: they do not.
    """
    with torch.device("meta"):
        module = build()
    expected = module.state_dict()
    wrong = [f"{name} is missing" for name in expected if name not in tensors]
    wrong += [f"{name} is not of this backbone" for name in tensors if name not in expected]
    wrong += [
        f"{name} is {list(tensors[name].shape)}, expected {list(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(f"{source}: other weights than this backbone's: {'; '.join(wrong[:3])}{more}")
    module.load_state_dict(dict(tensors), assign=True)
    return module.eval().requires_grad_(False)
