"""Audio files as streams of float32 blocks of shape (channels, samples), and back: decode, resample, encode (PyAV)."""
