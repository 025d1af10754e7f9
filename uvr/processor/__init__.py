"""What processor.py does with a task: fetch its song, wait for the network, separate it, hand the stems to the
uploader.
"""
