"""A trained FoleyGen: weights and config as safetensors, and a manifest that says what made them.

<output>/checkpoint/config.json, diffusion_pytorch_model.safetensors   `load_foleygen`
                    manifest.json                                      `FoleyGenManifest`
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from syncflow.config import Config, dump_config, validate
from syncflow.errors import UserError
from syncflow.files import whole_file
from syncflow.foleygen.config import VisualConfig
from syncflow.foleygen.dataset import CodeDataset
from syncflow.foleygen.model import FoleyGen, load_foleygen
from syncflow.foleygen.train_config import FoleyGenTrainConfig
from syncflow.hashing import first_not_finite, tensors_sha256
from syncflow.records import ClipSpec, Weights
from syncflow.training.finite import NotFiniteError
from syncflow.version import __version__

MANIFEST = "manifest.json"


class FoleyGenManifest(Config):
    """What sampling needs to find, and what made the weights."""

    kind: str = "foleygen"
    version: str = __version__
    """Version of this package that wrote it."""
    step: int
    """Updates done."""
    model_sha256: str
    """Content hash of all tensors."""
    spec: ClipSpec
    """The window that it was trained on."""
    num_codes: int
    """Codes of a window."""
    codec: Weights
    """What made the codes, and decodes them."""
    visual: Weights
    """What looked at the frames."""
    visual_config: VisualConfig
    """And how."""
    dataset_fingerprint: str
    """Hash of dataset and codes."""

    @classmethod
    def read(cls, folder: Path) -> "FoleyGenManifest":
        """Of a checkpoint.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: no checkpoint of FoleyGen ({error}); train_foleygen.py makes one"
            ) from None
        return validate(cls, values, source=str(path))


def write_foleygen(
    folder: Path, model: FoleyGen, *, config: FoleyGenTrainConfig, dataset: CodeDataset, step: int
) -> FoleyGenManifest:
    """Write weights, settings and, last, the manifest.

    Raises:
        NotFiniteError: a weight holds NaN or Inf.
    """
    if bad := first_not_finite(model.state_dict().items()):
        raise NotFiniteError(f"{folder}: weights not written, {bad} is not finite")
    (folder / MANIFEST).unlink(missing_ok=True)
    model.save_pretrained(folder)
    dump_config(config, folder / "resolved.yaml")
    made = dataset.manifest
    manifest = FoleyGenManifest(
        step=step,
        model_sha256=tensors_sha256(model.state_dict()),
        spec=dataset.spec,
        num_codes=made.num_codes,
        codec=made.codec,
        visual=made.visual,
        visual_config=validate(VisualConfig, made.config["visual"], source=str(dataset.codes_folder)),
        dataset_fingerprint=dataset.fingerprint,
    )
    with whole_file(folder / MANIFEST) as stream:
        stream.write(json.dumps(manifest.model_dump(mode="json"), indent=1).encode())
    return manifest


def read_foleygen(folder: Path) -> tuple[FoleyGen, FoleyGenManifest]:
    """Model and manifest of a checkpoint, the weights checked against it.

    Raises:
        UserError: there is none, or its weights are not the manifest's.
    """
    manifest, model = FoleyGenManifest.read(folder), load_foleygen(folder)
    if tensors_sha256(model.state_dict()) != manifest.model_sha256:
        raise UserError(f"{folder}: the weights are not those of its manifest; copy the folder again")
    return model, manifest


@torch.no_grad()
def take_weights(model: FoleyGen, state: Mapping[str, Tensor], *, prefix: str) -> None:
    """Put the weights of a training state, named `<prefix>model.<parameter>`, into the model."""
    for name, parameter in model.named_parameters():
        parameter.copy_(state[f"{prefix}model.{name}"])
