"""AudioGen (facebookresearch/audiocraft) for the prompts of an exchange folder.

    <environment>/bin/python run_audiogen.py --check --weights WEIGHTS
    <environment>/bin/python run_audiogen.py EXCHANGE

Each prompt by itself and with its own seed, so that what a row gets does not depend on the others.
"""

from __future__ import annotations

import sys
from typing import Any, Callable  # noqa: UP035  (Python 3.8)

from foreign_exchange import CannotMakeError, Places, Program, Request, main, module, seed_everything
from torch_weights import check_weights

REMEDY = "download facebook/audiogen-medium into this folder"
LM = (
    "xp.cfg",
    "best_state",
    "emb.3.weight",
    "linears.3.weight",
    "transformer.layers.0.self_attn.in_proj_weight",
    "condition_provider.conditioners.description.output_proj.weight",
)
CODEC = ("xp.cfg", "best_state", "quantizer.vq.layers.3._codebook.embed")


def check(places: Places) -> None:
    check_weights(places.weights / "state_dict.bin", names=LM, what="AudioGen's Transformer", remedy=REMEDY)
    check_weights(
        places.weights / "compression_state_dict.bin", names=CODEC, what="AudioGen's EnCodec", remedy=REMEDY
    )


def load(places: Places, settings: dict[str, Any]) -> Callable[[Request], tuple[Any, int]]:
    model = module("audiocraft.models").AudioGen.get_pretrained(str(places.weights))
    model.set_generation_params(
        use_sampling=True,
        top_k=settings["top_k"],
        temperature=settings["temperature"],
        cfg_coef=settings["cfg"],
        duration=settings["duration_s"],
    )

    def make(request: Request) -> tuple[Any, int]:
        if not request.prompt:
            raise CannotMakeError("no prompt")
        seed_everything(request.seed)
        audio = model.generate([request.prompt])[0]  # c m
        return audio.mean(0).float().cpu().numpy(), model.sample_rate

    return make


AUDIOGEN = Program(
    name="AudioGen",
    licences=(
        ("facebook/audiogen-medium", "CC BY-NC 4.0"),
        ("t5-large", "Apache-2.0"),
        ("audiocraft", "MIT"),
    ),
    packages=("torch", "numpy", "audiocraft"),
    install="pip install audiocraft there (docs/systems.md)",
    settings={"top_k": int, "temperature": float, "cfg": float, "duration_s": float},
    needs_source=False,
    tools=(),
    check=check,
    load=load,
)

if __name__ == "__main__":
    sys.exit(main(AUDIOGEN))
