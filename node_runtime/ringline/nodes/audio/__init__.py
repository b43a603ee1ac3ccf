"""Sound: level, rate, mixing, voice activity, files."""
