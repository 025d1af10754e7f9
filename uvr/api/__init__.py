"""The HTTP interface: blueprints, their schemas, and what every answer has in common. No audio passes through here."""
