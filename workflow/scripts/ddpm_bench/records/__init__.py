"""Files that one stage leaves and another reads, and the names in their paths."""
