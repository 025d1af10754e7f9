"""Where models come from: what is known about each, and how its file comes to stand in MODEL_FILE_DIR, whole."""
