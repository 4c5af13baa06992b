"""The servers of Atalaia on one machine: found or built, started, watched, and stopped for good."""
