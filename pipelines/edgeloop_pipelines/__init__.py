"""What runs, and what starts it: the pipeline, submitting, triggers, the platform of one machine, the demo, the command line.

The only package that knows all others; it puts adapters behind their ports.
"""
