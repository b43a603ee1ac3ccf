"""Pictures: sources, detectors, drawing, files."""
