"""What is not measured again: remembered chunks, known counterexamples, baselines."""
