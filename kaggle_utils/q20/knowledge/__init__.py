"""What is known of the world: objects, questions, and the probability of "yes" for each pair of them."""
