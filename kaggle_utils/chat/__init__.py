"""Conversations as text and token ids: messages, templates, and the TextGenerator protocol."""
