"""Experience: buffers that grow while agents act, and data sets that were recorded."""
