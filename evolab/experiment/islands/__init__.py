"""Islands: one search in several populations, used like any experiment; what trains them are the engines of sweeps."""
