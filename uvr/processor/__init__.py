"""What processor.py does with a task: fetch its song, wait for the network, separate, stage the stems."""
