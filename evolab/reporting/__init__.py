"""What is shown of runs: panels, trackers, comparison, progress."""
