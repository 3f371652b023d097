"""The smallest patches that lead to a class, and which of them is odd."""
