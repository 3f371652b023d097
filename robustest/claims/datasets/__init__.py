"""Claims about data sets and groups as they are."""
