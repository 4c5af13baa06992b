"""The command line: `atalaia --help`."""
