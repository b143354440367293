"""Folders of tensors and JSON that are whole or not there, and locks; nothing here knows an agent."""
