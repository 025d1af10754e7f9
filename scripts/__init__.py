"""Helpers behind the Makefile and the shell scripts: set-up, the service on this machine without Docker, the demo."""
