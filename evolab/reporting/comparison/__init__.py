"""Many runs side by side: a table of what a folder holds, anytime curves, and a dashboard that follows them live."""
