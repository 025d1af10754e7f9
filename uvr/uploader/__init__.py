"""What uploader.py does with a result: store the stems, clean up, and keep the disks and Redis free of leftovers."""
