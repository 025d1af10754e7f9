"""Where files are kept: an S3-compatible bucket or this machine's disk behind one interface, for stems and uploads."""
