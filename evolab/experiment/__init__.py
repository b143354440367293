"""What a user calls: one object that fills, steps, runs, shows and saves."""
