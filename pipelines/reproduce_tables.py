"""The paper's Tables 1 to 4 and Figure 5: makes what lacks, measures it, and writes both figures.

python pipelines/reproduce_tables.py --size miniature --output out/tables --plan
"""

from pathlib import Path

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.studies.tables.config import TablesConfig


def main() -> int:
    config = parse_arguments(TablesConfig, description=__doc__ or "")
    from infra.tracking.tables import track
    from syncflow.studies.tables.run import reproduce

    return reproduce(config, pipelines=Path(__file__).resolve().parent, track=track)


if __name__ == "__main__":
    run(main)
