"""The same tests on a net trained without adversarial examples; some fail, and are meant to."""
