"""Where finished stems are kept: an S3-compatible bucket or this machine's disk, behind one small interface."""
