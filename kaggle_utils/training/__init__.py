"""Folds, metrics, and fine-tuning in folds."""
