"""Removes what has reached its age, and what must go to make space. One sweeper per cluster."""
