"""What uploader.py does with a result: stores the stems, cleans up, and keeps disks and Redis free of leftovers."""
