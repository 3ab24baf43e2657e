"""Thousands of games at once: bounds, simulated answerers, strangers, ratings and the round robin."""
