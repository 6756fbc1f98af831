"""`memtrack tune --recipe`: search how to train so that wrong labels are found best."""
