"""Servers of others that serve the same ONNX file, to be measured beside ours. Each runs alone in its own environment.

They import nothing of edgeloop and are run as scripts: `python FILE MODEL PORT`. Each is written as its project's
documentation shows: one process, one thread of onnxruntime, no access log, no metrics, so that nobody is made slow.
"""
