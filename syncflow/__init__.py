"""SyncFlow: temporally aligned joint audio-video generation from text.

The library. Heavy packages (torch, diffusers, transformers) are imported by the modules that use
them, so importing this package costs next to nothing.
"""

__version__ = "0.1.0"
