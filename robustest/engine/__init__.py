"""The engine owns every model call: batches, device, counting, judging."""
