"""The local service without Docker: Redis, API, processor and uploader, started and stopped together.

`start_local.sh` and the other `*_local.sh` scripts call `python -m scripts.local`. The demo and the tests use `Stack`
directly, each with its own folders and ports.
"""
