"""Ways to move an array between two processes, behind one interface: ours, and what else the package index has."""
