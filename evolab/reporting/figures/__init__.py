"""Static figures of a run, one a file: each is a plain plotly `Figure`."""
