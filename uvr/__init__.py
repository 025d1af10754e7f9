"""The code behind the entry points, such as app.py and processor.py; docs/architecture.md shows its layers."""
