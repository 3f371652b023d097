"""Claims about training and the data that it is done on."""
