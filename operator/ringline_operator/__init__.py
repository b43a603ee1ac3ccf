"""The operator: turns `MediaPipeline` resources into session pods and keeps them so.

Events fill a cache (`observe`), pure functions compare what is with what should be (`decide`, `specs`, `status`), and
`act` carries the difference out; only `kube` talks to the API server.
"""
