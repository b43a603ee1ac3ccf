"""What needs the whole graph to be judged, one aspect per module; `validate` runs them all.

Every check is a generator of problems and never raises, whatever the graph looks like.
"""
