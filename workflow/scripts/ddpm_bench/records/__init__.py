"""Files that one stage writes and another reads: their types, and the layout of the results."""
