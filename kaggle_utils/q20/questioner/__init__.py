"""The Bayesian questioner: what the answers say about the keyword and the answerer, and what to ask next."""
