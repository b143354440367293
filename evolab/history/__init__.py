"""What happened in a run: events, tables of them, and their files."""
