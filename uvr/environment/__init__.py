"""Variables in .env or in the environment that have no effect: misspelled ones and those of the replaced service."""
