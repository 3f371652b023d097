"""What the command does with runs that were made."""
