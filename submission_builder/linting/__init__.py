"""What reading main.py tells: its namespace as the environment sees it, and rules over it."""
