"""Answer a stranger's question about a keyword: by rule, from the table, by a language model."""
