"""``python -m kaggle_utils doctor``: what this machine has, and what each notebook would lack on it."""
