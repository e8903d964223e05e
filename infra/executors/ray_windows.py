"""Decode a folder into a window store under Ray Data: each task writes the shard of one group of files.

No frame crosses the object store: a task takes a group's names and gives back the rows of its files.
"""

import dataclasses
import logging
from collections.abc import Iterator
from typing import Any

from infra.executors.local_cluster import cluster
from syncflow.data.windows.decode import Group, Windows, decode_group
from syncflow.data.windows.store import FileRow
from syncflow.errors import UserError


def decode_with_ray(windows: Windows, groups: list[Group]) -> Iterator[list[FileRow]]:
    """What became of each group's files, as it comes (an `Execute` of `syncflow.data.windows.decode`)."""
    with cluster():
        import ray
        from ray.data import DataContext

        logging.getLogger("ray.data").setLevel(logging.ERROR)  # our own line says how it goes
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        items = [dataclasses.asdict(group) for group in groups]
        # one group a block, or a small folder would be one task
        dataset = ray.data.from_items(items, override_num_blocks=len(items)).map(
            _decode_item,  # type: ignore[arg-type]
            fn_args=(windows,),
            num_cpus=1,
        )
        for row in dataset.iter_rows():
            if row["refusal"]:
                raise UserError(row["refusal"])
            yield [FileRow(**values) for values in row["rows"]]


def _decode_item(item: dict[str, Any], windows: Windows) -> dict[str, Any]:
    """A `UserError` travels as a value: Ray would wrap it in pages of traces."""
    try:
        rows = decode_group(Group(name=item["name"], files=tuple(item["files"])), windows)
    except UserError as error:
        return {"rows": [], "refusal": str(error)}
    return {"rows": [dataclasses.asdict(row) for row in rows], "refusal": ""}
