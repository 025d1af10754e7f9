"""Everything the three doors (app.py, processor.py, uploader.py) share; docs/architecture.md draws the layers."""
