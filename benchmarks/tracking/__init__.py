"""How well the pipeline follows objects, on composed scenes whose truth is known exactly."""
