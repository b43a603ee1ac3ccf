"""The graph of a pipeline as a pure value: models, manifest, checks, plan, drawings.

Both launchers (this machine and the operator), the CLI and the application's builder go through here. Nothing in this
package imports numpy or ZeroMQ, and only `manifest` and `local` touch the file system.
"""
