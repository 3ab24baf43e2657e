"""Rows to token ids to batches: pairs, labels, prompt styles, truncation, tokenization, packs, submission files."""
