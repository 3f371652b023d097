"""CartPole, balanced by two controllers and a small net."""
