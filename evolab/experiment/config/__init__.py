"""Options of an experiment: declared, checked, resolved, written and read; nothing else knows them all."""
