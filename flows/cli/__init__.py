"""The command line `cl`."""
