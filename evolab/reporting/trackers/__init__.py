"""Where a run can be written down as it goes; one file each."""
