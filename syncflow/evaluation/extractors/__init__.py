"""Backbones, one a file: names and shapes of the public checkpoint, its preprocessing as typed fields."""
