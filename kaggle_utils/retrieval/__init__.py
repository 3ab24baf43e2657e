"""Finding texts: BM25 over character bigrams, dense vectors, late interaction, their fusion, and few-shot prompts."""
