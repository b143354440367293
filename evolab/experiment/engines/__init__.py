"""Engines: who advances runs, epoch by epoch: this process, processes on a shared folder, or actors of Ray."""
