"""Check of a machine with a GPU: programs of the workflow on small inputs, each part on its own."""
