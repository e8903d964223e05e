"""LoRA of a pipeline, as diffusers has it: load, weigh, merge, unload. `[lora]` installs peft."""

import logging
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import CogVideoXLoraLoaderMixin
from torch import Tensor

from syncflow.errors import UserError
from syncflow.files import read_json
from syncflow.model.float8 import computes_in_float8
from syncflow.model.lora import COMPONENT, base_sha256

LOG = logging.getLogger(__name__)
WEIGHTS, MANIFEST = "pytorch_lora_weights.safetensors", "adapter.json"


class LoraLoading(CogVideoXLoraLoaderMixin):
    """`load_lora_weights`, `set_adapters`, `fuse_lora`, `unload_lora_weights` and the rest of diffusers' own
    for the towers and adaptors."""

    _lora_loadable_modules = [COMPONENT]  # noqa: RUF012
    transformer_name = COMPONENT

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | PathLike[str] | dict[str, Tensor],
        adapter_name: str | None = None,
        hotswap: bool = False,
        **kwargs: Any,
    ) -> None:
        """As diffusers': put an adapter upon the model; safetensors only.

        A folder of a training stage says which weights it was trained upon. Where the model has others, in
        float32, that is logged: the adapter then adds to what it has not seen.

        Args:
            pretrained_model_name_or_path_or_dict: a folder, a name on the hub, or tensors by their names.
            adapter_name: what it is called in `set_adapters`; None: default_0, default_1 and so on.
            hotswap: put it in the place of the adapter of that name.
            kwargs: as diffusers'.

        Raises:
            UserError: a folder without an adapter, tensors of another model, or towers in float8.
        """
        if computes_in_float8(getattr(self, COMPONENT)):
            raise UserError(
                "lora: the towers compute in float8, which takes no adapter; load it, fuse_lora and "
                "unload_lora_weights before they do (generate.py --lora does so)"
            )
        given = pretrained_model_name_or_path_or_dict
        if not isinstance(given, dict) and Path(given).is_dir():
            self._check_folder(Path(given), kwargs.get("weight_name") or WEIGHTS)
        source = given if isinstance(given, dict) else fspath(given)
        kwargs.setdefault("use_safetensors", True)
        small = kwargs.pop("low_cpu_mem_usage", False)
        tensors, metadata = self.lora_state_dict(source, return_lora_metadata=True, **kwargs)
        if not tensors or not all(name.startswith(f"{COMPONENT}.") for name in tensors):
            first = next(iter(tensors), "nothing")
            raise UserError(
                f"lora {source if not isinstance(given, dict) else 'tensors'}: holds {first}, expected names "
                f"that begin with {COMPONENT}.; give an adapter of this model"
            )
        getattr(self, COMPONENT).load_lora_adapter(
            tensors,
            prefix=COMPONENT,
            adapter_name=adapter_name,
            metadata=metadata or None,
            hotswap=hotswap,
            low_cpu_mem_usage=small,
            _pipeline=self,
        )

    def fuse_lora(  # type: ignore[override]
        self, components: list[str] | None = None, **kwargs: Any
    ) -> None:
        """As diffusers': add the adapters to the weights, so that sampling takes no longer than without."""
        super().fuse_lora(components=components or [COMPONENT], **kwargs)

    def unfuse_lora(self, components: list[str] | None = None, **kwargs: Any) -> None:
        """As diffusers': take them out of the weights again, up to rounding."""
        super().unfuse_lora(components=components or [COMPONENT], **kwargs)

    def _check_folder(self, folder: Path, weights: str) -> None:
        if not (folder / weights).is_file():
            raise UserError(
                f"lora {folder}: no {weights} in it; give the folder `checkpoint` of a stage that was "
                "trained with lora.rank, or diffusers' weight_name"
            )
        if not (folder / MANIFEST).is_file():
            return
        remedy = "copy the folder again"
        wanted = read_json(folder / MANIFEST, absent=remedy, damaged=remedy).get("base_sha256")
        model = getattr(self, COMPONENT)
        if model.dtype == torch.float32 and base_sha256(model) != wanted:
            LOG.warning("lora %s: trained upon other weights (%s) than this model's", folder, wanted)
