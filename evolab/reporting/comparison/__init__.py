"""Many runs side by side: a table of what a folder holds, anytime curves, and a board that follows them live."""
