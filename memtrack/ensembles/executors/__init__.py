"""Where the networks of an ensemble are trained: in processes of this machine, or on a Ray cluster."""
