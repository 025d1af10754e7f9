"""The HTTP server: gunicorn with a worker of our own, whose threads do not wait for slow clients."""
