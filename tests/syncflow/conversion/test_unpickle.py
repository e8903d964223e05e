"""Pickled weights become safetensors with the same numbers, and nothing of a hostile file runs or stays."""

import json
import os
import pickle
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from syncflow.config import validate
from syncflow.conversion.config import ConvertConfig
from syncflow.conversion.unpickle import convert_to_safetensors
from syncflow.conversion.unpickle_child import choose, convert, plain_tensors
from syncflow.errors import UserError
from syncflow.hashing import file_sha256
from syncflow.text import TextEncoder
from syncflow.text_config import TextConfig
from syncflow.weight_files import conversion_command
from tests.pickled_t5 import write_pickled_t5


def command(source: Path, output: Path, **changes: object) -> Path:
    values = {"source": str(source), "output": output, **changes}
    return convert_to_safetensors(validate(ConvertConfig, values, source="test"))


@pytest.fixture(scope="module")
def pickled_t5(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TextEncoder]:
    folder = tmp_path_factory.mktemp("t5")
    return folder, write_pickled_t5(folder)


def test_the_remedy_that_a_pickled_text_encoder_is_refused_with_works(
    pickled_t5: tuple[Path, TextEncoder], repository: Path, tmp_path: Path
) -> None:
    folder, encoder = pickled_t5
    settings = TextConfig(location=str(folder), dtype="float32", max_tokens=20)
    with pytest.raises(UserError, match=r"pickled.*set text\.location to FOLDER") as refused:
        TextEncoder(settings)
    told = re.search(r"python pipelines/\S+ --source \S+ --output FOLDER", str(refused.value))
    assert told is not None and told[0] == conversion_command(folder)
    words = shlex.split(told[0].replace("FOLDER", str(tmp_path / "t5")))
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    subprocess.run([sys.executable, *words[1:]], cwd=repository, env=environment, check=True)
    loaded = TextEncoder(settings.model_copy(update={"location": str(tmp_path / "t5")}))
    assert loaded.sha256 == encoder.sha256
    assert loaded.encode(["a hit"])[0].tobytes() == encoder.encode(["a hit"])[0].tobytes()
    note = json.loads((tmp_path / "t5" / "conversion.json").read_text())
    assert note["sha256_before"] == {p.name: file_sha256(p) for p in sorted(folder.glob("*.bin"))}
    assert note["sha256_after"] == {p.name: file_sha256(p) for p in (tmp_path / "t5").glob("*.safetensors")}
    assert len(note["sha256_after"]) == 2 and not list((tmp_path / "t5").glob("*.bin*"))
    assert command(folder, tmp_path / "t5") == tmp_path / "t5", "the same command again changes nothing"


class Hostile:
    """Unpickled by pickle itself it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_a_hostile_file_runs_nothing_and_leaves_no_file(tmp_path: Path) -> None:
    source, mark = tmp_path / "in" / "weights.pt", tmp_path / "mark"
    source.parent.mkdir()
    torch.save({"weight": torch.ones(2), "payload": Hostile(mark)}, source)
    with pytest.raises(UserError, match=r"not converted: \S*weights.pt holds posix.system, which"):
        command(source, tmp_path / "out")
    source.write_bytes(pickle.dumps({"weight": torch.ones(2), "payload": Hostile(mark)}, protocol=2))
    with pytest.raises(pickle.UnpicklingError):
        convert(str(source), str(tmp_path / "out.safetensors"), entry="")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    assert [path.name for path in source.parent.iterdir()] == ["weights.pt"]


def test_memory_is_limited(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(40_000_000)}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"needs over 0\.03 GiB"):
        command(tmp_path / "w.pt", tmp_path / "out", memory_gib=0.03)
    assert not (tmp_path / "out").exists()


def test_a_tensor_that_is_larger_than_what_is_stored_of_it_is_refused() -> None:
    with pytest.raises(ValueError, match="less than that is stored"):
        plain_tensors({"w": torch.zeros(1).expand(10**6, 10**6)})


def test_tied_weights_and_views_keep_their_numbers(tmp_path: Path) -> None:
    shared = torch.randn(4, 3)
    state = {"module.a": shared, "module.b": shared, "module.c": shared.T, "module.d": shared[1:]}
    torch.save(state, tmp_path / "w.bin")
    convert(str(tmp_path / "w.bin"), str(tmp_path / "w.safetensors"), entry="")
    out = load_file(tmp_path / "w.safetensors")
    assert out.keys() == {"a", "b", "c", "d"}
    assert all(torch.equal(out[name], state[f"module.{name}"]) for name in out)


def test_tensors_in_several_places_are_chosen_by_entry() -> None:
    """As audiocraft saves EnCodec (best_state.model), and trainers an average beside the weights (ema)."""
    state, average = {"w": torch.ones(2), "num_updates": 5}, {"w": torch.zeros(2)}
    saved = {"best_state": {"model": state}, "ema": average, "epoch": 3}
    with pytest.raises(ValueError, match=r"several places \(best_state.model \(1\), ema \(1\)\); .*--entry"):
        choose(saved, "")
    with pytest.raises(ValueError, match="no tensors at entry 'emma'"):
        choose(saved, "emma")
    assert choose(saved, "best_state.model") == ("best_state.model", state)
    assert choose({"ema": average, "epoch": 3}, "") == ("ema", average), "the only place is found"
    assert plain_tensors(state)[1] == ["num_updates"]


def test_one_file_may_go_to_one_file_and_not_over_another(tmp_path: Path) -> None:
    torch.save({"ema": {"w": torch.ones(2)}}, tmp_path / "w.pth")
    single = command(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert torch.equal(load_file(single)["w"], torch.ones(2))
    note = json.loads((tmp_path / "w.safetensors.json").read_text())
    assert note["entries"] == {"w.pth": "ema"} and note["sha256_after"]
    assert command(tmp_path / "w.pth", single) == single, "the same command again changes nothing"
    with pytest.raises(UserError, match="was not converted from these files"):
        command(tmp_path / "w.pth", single, entry="ema")


@pytest.mark.parametrize("name", ["../elsewhere.bin", "/etc/passwd", "gone.bin"])
def test_an_index_that_names_files_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere.bin").write_bytes(b"")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(UserError, match="no file beside it"):
        command(folder, tmp_path / "out")


def test_safetensors_are_copied_with_what_lies_beside_them(
    pickled_t5: tuple[Path, TextEncoder], tmp_path: Path
) -> None:
    first = tmp_path / "first"
    pickled_t5[1].model.save_pretrained(first, max_shard_size="100kB")
    pickled_t5[1].tokenizer.save_pretrained(first)
    assert len(list(first.glob("*.safetensors"))) > 1
    second = command(first, tmp_path / "second")
    assert {p.name for p in second.iterdir()} == {p.name for p in first.iterdir()} | {"conversion.json"}
    loaded = TextEncoder(TextConfig(location=str(second), dtype="float32", max_tokens=20))
    assert loaded.sha256 == pickled_t5[1].sha256


def test_a_folder_without_weights_and_one_with_too_many_say_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none"):
        command(tmp_path, tmp_path / "out")
    for name in ("a.pt", "b.pt"):
        torch.save({"w": torch.ones(1)}, tmp_path / name)
    with pytest.raises(UserError, match=r"several: a.pt, b.pt; give one"):
        command(tmp_path, tmp_path / "out")
