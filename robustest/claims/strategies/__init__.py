"""Claims about whatever a hypothesis strategy draws."""
