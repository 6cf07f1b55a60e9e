"""What a compiled model costs, measured, and the resources derived from that."""
