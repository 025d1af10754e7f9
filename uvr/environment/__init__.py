"""Variables of the environment and of .env that the service does not read: misspelled ones and retired ones."""
