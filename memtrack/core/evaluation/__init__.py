"""How well scores find corrupted samples, and how far they agree with memorization."""
