"""The HTTP server: gunicorn with the service's settings, slow clients, and malformed requests."""
