"""From a dataset's source to prepared images."""
