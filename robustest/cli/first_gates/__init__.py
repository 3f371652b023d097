"""What the command writes for a project: its first tests, and the thresholds that they could hold."""
