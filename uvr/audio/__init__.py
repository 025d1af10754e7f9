"""Audio files to streams of float32 blocks of shape (channels, samples) and back: decode, resample, encode (PyAV)."""
