"""Nodes that handle messages of any type."""
