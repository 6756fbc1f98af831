"""How well scores find corrupted samples, and how closely they agree with memorization."""
