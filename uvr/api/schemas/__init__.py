"""Request and response bodies as pydantic models, the source of the OpenAPI document."""
