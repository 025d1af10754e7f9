"""Tests of what an operator installs on a server: proxies, systemd units, backups. `make test-server` runs them."""
