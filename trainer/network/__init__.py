"""What is trained: speech encoders, heads, losses, and how much of them learns."""
