"""Adapters of the `Cluster` port: a folder that the local stand-in for KubeEdge reads; a real cluster is another module."""
