"""The HTTP server: gunicorn with our settings, slow clients, and malformed requests."""
