"""What check_kills.py needs around the jobs that it kills: clips, and nodes of Ray on this machine."""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def ray_nodes(count: int) -> Iterator[Any]:
    """One node of two CPUs, or a head without CPUs and `count` nodes of one."""
    from ray.cluster_utils import Cluster

    Path("/tmp/ray").mkdir(exist_ok=True)  # where it notes its address
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        head = {"num_cpus": 2 if count == 1 else 0, "temp_dir": folder, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(count if count > 1 else 0):
                cluster.add_node(num_cpus=1)
            yield cluster
        finally:
            cluster.shutdown()


def make_clips(folder: Path, *, count: int, size: int) -> None:
    """Synthetic clips of `size` pixels, an empty file and one of noise."""
    script, preset = ROOT / "pipelines/make_demo_clips.py", ROOT / "pipelines/configs/tiny/clips.yaml"
    flags = [f"--config={preset}", f"--output={folder}", f"--count={count}", "--workers=1", f"--size={size}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(script), *flags], check=True, cwd=ROOT, env=environment)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "noise.mp4").write_bytes(random.Random(0).randbytes(5000))
