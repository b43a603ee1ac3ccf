"""Speech recognition and synthesis that work offline."""
