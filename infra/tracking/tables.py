"""The paper's tables in MLflow: a run for each system, with what its cells come from."""

import math
from collections.abc import Mapping, Sequence

from infra.tracking.runs import client, close_run, open_run, plain_name, run_that_made, short
from infra.tracking.scores import lineage
from syncflow.studies.tables.config import TablesConfig
from syncflow.studies.tables.lineage import FILE, SystemLineage


def track(config: TablesConfig, systems: Sequence[SystemLineage]) -> Mapping[str, str]:
    """Ids of the runs by system; empty where nothing is tracked, or where the store does not answer.

    A run has the cells as metrics; hashes of the protocol and of what made each folder of clips, the training
    runs and the evaluation's run as tags; and lineage.json with all commands as a file. The same system with
    other clips, commands or protocol is another run.
    """
    ids: dict[str, str] = {}
    for each in systems if config.tracking else ():
        tags = {"protocol_sha256": each.protocol_sha256, "rows": "; ".join(each.rows)}
        tags |= {f"made_by.{number}": made for number, made in enumerate(each.made_by.values())}
        tags |= lineage(each.folders)
        if evaluation := run_that_made(each.scores):
            tags["evaluation_run"] = evaluation
        run = open_run(
            config.tracking,
            experiment=config.experiment,
            pipeline=config.run,
            stage=each.system,
            folder=each.record,
            identity=each.identity,
            params={"system": each.system, "size": config.size, "seeds": config.seeds, "limit": config.limit},
            tags=tags,
        )
        if run is None:
            break
        try:
            store = client(run.uri)
            for column, cell in each.cells.items():
                if math.isfinite(value := _number(cell)):
                    store.log_metric(run.run_id, plain_name(column), value)
            store.log_artifact(run.run_id, str(each.record / FILE), artifact_path="lineage")
        except Exception as error:
            print(
                f"MLflow at {run.uri} does not answer ({short(error)}); the tables have no runs", flush=True
            )
            break
        close_run(run, status="FINISHED")
        ids[each.system] = run.run_id
    return ids


def _number(cell: str) -> float:
    """The figure with which a cell begins; NaN for another text."""
    try:
        return float(cell.split(" ")[0])
    except ValueError:
        return math.nan
