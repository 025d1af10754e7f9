"""Models: a catalogue of facts about each, and the download of its file into MODEL_FILE_DIR."""
