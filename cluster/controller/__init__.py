"""The controller: compares the desired cameras with the actual state and repairs differences."""
