"""The board of the command line: one local page that follows runs, and only reads."""
