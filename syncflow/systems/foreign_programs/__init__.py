"""Programs that run foreign systems in environments of their own (docs/systems.md).

Each `run_*.py` is a file that the Python of that system's environment executes; nothing of this project is
imported there. They use the standard library and the system's own packages, and run on Python 3.8.
"""
