"""Ways to ask, answer and guess, each with one method ``reply``; ``robot`` chains them."""
