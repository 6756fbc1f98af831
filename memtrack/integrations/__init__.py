"""Training loops that are not memtrack's: the recorder, its folder, callbacks of other libraries."""
