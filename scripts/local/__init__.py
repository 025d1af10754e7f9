"""The service on one machine without Docker: four processes with pid files and logs, started and stopped together.

`start_local.sh` and its companions are doors to `python -m scripts.local`; the demo and the tests use `Stack` directly,
each in folders and on ports of its own.
"""
