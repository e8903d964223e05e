"""What a message tells a user to do is done here, and heals."""

from pathlib import Path

import pytest

from preprocessing.job import precompute
from syncflow.data.batches import LatentDataset
from syncflow.data.parquet.compact import compact_ledger
from syncflow.data.verify import find_faults
from syncflow.errors import UserError
from tests.precompute_case import content, job, write_clip_number, write_weights

GOOD = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("made")
    write_weights(folder / "weights")
    (folder / "clips").mkdir()
    for number in range(GOOD):
        write_clip_number(folder / "clips" / f"clip{number}.mp4", number)
    return folder / "clips", folder / "weights"


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 2, len(data) // 2 + 60):
        data[place] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("merged", [False, True], ids=["", "merged ledger"])
@pytest.mark.parametrize("harm", ["missing", "damaged", "foreign"])
@pytest.mark.parametrize("room", ["latents", "text", "ledger"])
def test_the_remedy_of_a_fault_heals_it(
    made: tuple[Path, Path], tmp_path: Path, room: str, harm: str, merged: bool
) -> None:
    config = job(*made, tmp_path / "out")
    precompute(config)
    before = content(config.output)
    if merged:
        compact_ledger(config.output / "ledger", beyond=1)
        precompute(config)
    path = sorted((config.output / room).glob("*.parquet"))[0]
    if harm == "foreign":
        (path.parent / "other.parquet").write_bytes(path.read_bytes())
    elif harm == "missing":
        path.unlink()
    else:
        damage(path)
    faults = list(find_faults(config.output))
    assert any(f"{'other.parquet' if harm == 'foreign' else path.name}" in fault for fault in faults), faults
    repair = any("--repair" in fault for fault in faults)
    assert repair == (harm == "damaged"), faults
    assert precompute(job(*made, config.output, repair=repair)) == 0
    assert list(find_faults(config.output)) == []
    assert content(config.output) == before and len(LatentDataset(config.output)) == 2 * GOOD


def test_all_faults_are_listed_and_the_first_hides_none(made: tuple[Path, Path], tmp_path: Path) -> None:
    config = job(*made, tmp_path / "out")
    precompute(config)
    shards = sorted((config.output / "latents").glob("*.parquet"))
    damage(shards[0])
    shards[1].unlink()
    (config.output / "text" / "other.parquet").write_bytes(b"x")
    (config.output / "dataset.json").write_text("{")
    faults = "\n".join(find_faults(config.output))
    for name in ("dataset.json", shards[0].name, shards[1].name, "text/other.parquet"):
        assert name in faults
    with pytest.raises(UserError, match=r"run precompute_latents\.py again"):
        LatentDataset(config.output)
    assert precompute(job(*made, config.output, repair=True)) == 0
    assert list(find_faults(config.output)) == []
