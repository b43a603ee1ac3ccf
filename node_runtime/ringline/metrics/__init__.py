"""Statistics of a session as Prometheus metrics: `collector` translates, `server` serves them on the loopback interface."""
