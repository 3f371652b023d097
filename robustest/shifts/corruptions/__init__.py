"""The shifts that robustest brings, and the arithmetic that they share."""
