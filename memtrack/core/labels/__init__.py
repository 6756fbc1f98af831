"""Labels: noise that changes them, and duplicates that contradict each other."""
