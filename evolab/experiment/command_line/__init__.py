"""What the commands of `evolab.__main__` make, print, and leave in a run's folder."""
