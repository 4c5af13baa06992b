"""Paints privacy masks into what was recorded before a camera had them."""
