"""20 Questions: the environment's rules, a player, an arena and replays. Light: no torch, no pandas."""
