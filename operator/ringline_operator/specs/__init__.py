"""Builders of Kubernetes objects: values in, plain mappings out. No client here, no clock."""
