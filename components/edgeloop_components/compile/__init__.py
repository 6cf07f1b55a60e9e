"""A version's ONNX model into what one target's runtime loads, proven against the reference."""
