"""Run models: text generation and yes/no probabilities."""
