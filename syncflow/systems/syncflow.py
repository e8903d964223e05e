"""Where `SyncFlowPipeline` was once: scripts that import it from here go on working."""

from syncflow.sampling.pipeline import SyncFlowPipeline as SyncFlowPipeline
