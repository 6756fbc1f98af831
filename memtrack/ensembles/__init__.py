"""Many networks: what they are trained on, where they are trained, and what is stored."""
