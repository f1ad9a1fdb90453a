"""Files that one stage leaves and another reads: one type for each, and the names in their paths."""
