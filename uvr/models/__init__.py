"""Models: the catalogue of what is known about each, and the download of its file into MODEL_FILE_DIR."""
