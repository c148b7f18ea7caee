"""Endpoints whose models run in Triton Inference Server: `target` is the provider, the others are its processes."""
