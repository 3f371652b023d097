"""The engine: every model call, with batches, device, counts and judgement."""
