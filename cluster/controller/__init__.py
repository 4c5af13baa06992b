"""The one place that repairs: compares desired cameras with what runs, mends the difference."""
