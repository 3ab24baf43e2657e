"""Play an archive as Kaggle does: unpacking, isolated seats, games, probes, the report."""
