"""What people answered about samples: collected, counted, made into labels."""
