"""Wheels for a machine without network: ours, and those that a Kaggle image lacks."""
