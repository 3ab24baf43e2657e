"""Rules that answer questions about the spelling of a keyword exactly."""
