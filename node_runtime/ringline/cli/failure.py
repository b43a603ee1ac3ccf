"""What an error becomes for people: one sentence that begins with the error's class, as the documents show it."""

from __future__ import annotations

from ringline.errors import ManifestError, RinglineError


def sentence(error: Exception) -> str:
    """Write an error for stderr or a summary; a manifest's findings one per line, without the class."""
    text = str(error) or type(error).__name__
    if isinstance(error, ManifestError):
        return text
    if isinstance(error, RinglineError):
        return f"{type(error).__name__}: {text}"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return text
