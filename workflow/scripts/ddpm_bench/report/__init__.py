"""Tables, figures and terminal summaries of results."""
