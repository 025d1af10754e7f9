"""Helpers for the Makefile and the shell scripts: set-up, the local service without Docker, the demo."""
