"""Tests of web/ in a headless Chromium: `make test-browser`."""
