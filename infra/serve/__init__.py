"""The service of `syncflow.serving` under Ray Serve."""
