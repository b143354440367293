"""What every room uses: checks, random streams, ranges, spaces, actions, trees, records of experience, names."""
