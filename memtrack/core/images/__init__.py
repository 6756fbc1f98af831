"""Images as arrays: what is done to their pixels, and what a network sees of them."""
