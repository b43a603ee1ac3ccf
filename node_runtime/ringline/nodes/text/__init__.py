"""Text: matching and answering without a model."""
