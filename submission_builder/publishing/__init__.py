"""Folders that Kaggle's official client uploads: datasets, notebooks and models, checked before anything is sent."""
