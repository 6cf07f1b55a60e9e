"""The scoring server of one model version: Open Inference Protocol V2 (REST, JSON), /score, /metrics and /window."""
