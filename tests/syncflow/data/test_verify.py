from pathlib import Path

import numpy as np
import pytest

from syncflow.data.dataset_card import dataset_card
from syncflow.data.index import WindowIndex
from syncflow.data.score_picture import draw_scores
from syncflow.data.verify import find_faults


def test_dataset_as_written_has_no_fault(dataset: Path) -> None:
    assert list(find_faults(dataset)) == []


@pytest.mark.parametrize("room", ["latents", "text"])
def test_every_flipped_bit_of_every_shard_is_found(dataset: Path, room: str) -> None:
    draw = np.random.default_rng(0)
    for path in sorted((dataset / room).glob("*.parquet")):
        good = path.read_bytes()
        for position in draw.integers(0, len(good), 15):
            bad = bytearray(good)
            bad[position] ^= 1 << int(draw.integers(8))
            path.write_bytes(bad)
            assert any(path.name in fault for fault in find_faults(dataset)), f"{room}: byte {position}"
        path.write_bytes(good)
    assert list(find_faults(dataset)) == []


def test_missing_shard_and_missing_ledger_are_found(dataset: Path) -> None:
    gone = next((dataset / "text").glob("*.parquet"))
    gone.unlink()
    faults = list(find_faults(dataset))
    assert any(fault.startswith(f"text/{gone.name}: missing; run") for fault in faults)
    assert any("no embedding" in fault for fault in faults)
    next((dataset / "ledger").glob("*.parquet")).unlink()
    assert any("the ledger has changed" in fault for fault in find_faults(dataset))


def test_scores_are_drawn_one_histogram_each(dataset: Path, tmp_path: Path) -> None:
    draw_scores(WindowIndex(dataset), tmp_path / "scores.svg")
    text = (tmp_path / "scores.svg").read_text()
    assert "motion" in text and "median 0.45" in text


def test_card_tells_the_counts_and_the_scores(dataset: Path) -> None:
    card = dataset_card(dataset)
    assert "| inputs |  | 10 |" in card and "| train | 16 | 8 |" in card and "| test | 4 | 2 |" in card
    assert "| motion | 0 |" in card and "video VAE" in card
    assert "| label | 20 |" in card and "(scores.png)" in card
