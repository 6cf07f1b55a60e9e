"""A snapshot into an ONNX model with everything that nodes need to count and to prove themselves."""
