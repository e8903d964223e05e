"""Drumstick clips with known instants of impact: planned, drawn, sounded, written."""
