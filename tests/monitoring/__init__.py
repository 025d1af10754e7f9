"""Tests of deploy/monitoring/ with a real Prometheus; `make test-monitoring` installs it where it may."""
