"""Claims about training: what data teach, what more of them would buy, and how well training goes."""
