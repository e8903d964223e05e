"""A T5 of random weights as the hub has the large one: pickled shards with an index."""

import json
from pathlib import Path

import torch

from syncflow.text import TextEncoder
from syncflow.text_config import TextConfig


def write_pickled_t5(folder: Path) -> TextEncoder:
    """Write it, and give the encoder."""
    encoder = TextEncoder(TextConfig(location="", dtype="float32", max_tokens=20))
    encoder.model.config.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    state = encoder.model.state_dict()
    names = sorted(state)
    parts = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for file, part in parts.items():
        torch.save({name: state[name] for name in part}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return encoder
