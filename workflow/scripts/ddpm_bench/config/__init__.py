"""The typed configuration: one module per block of the config file."""
