"""The replay page, part by part: text, charts, the story of a game, its rounds, the document."""
