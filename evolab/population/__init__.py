"""The population as a table, its agents, and their files."""
