"""What ``python -m kaggle_utils.q20`` can do, a module for each command."""
