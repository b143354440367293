"""Who survives, what changes in the newborn, and which agent is kept."""
