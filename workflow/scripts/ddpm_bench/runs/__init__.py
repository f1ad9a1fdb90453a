"""A running workflow: its processes, jobs, failures and state."""
