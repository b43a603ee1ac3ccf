"""The C extension under the compiler's sanitizers: `python -m tests.sanitizers` (`make sanitize`)."""
