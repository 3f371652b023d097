"""The same claim on the net that was not repaired: it fails, and is meant to."""
