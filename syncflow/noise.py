"""Random draws by name: a generator that depends on its key and on nothing else.

Every draw of training and sampling is keyed by what it is for, as ("posterior", seed, sample index),
never by a rank or by how many draws came before; so the same run comes out at any number of workers
and after any restart.
"""

import hashlib

import torch


def keyed_generator(*key: int | str) -> torch.Generator:
    """A CPU generator seeded by the sha256 of `key`; equal keys give equal draws on every machine.

    The parts are told apart by type and length: (1, 2), (12,) and ("1", 2) are three keys.
    """
    assert key, "a key needs at least one part"
    digest = hashlib.sha256()
    for part in key:
        text = str(int(part)) if isinstance(part, int) else part
        digest.update(f"{'i' if isinstance(part, int) else 's'}{len(text.encode())}:{text}".encode())
    seed = int.from_bytes(digest.digest()[:8], "little", signed=True)
    return torch.Generator().manual_seed(seed)
