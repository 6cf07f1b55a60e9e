"""One machine: the parts of the platform as child processes, and the pipeline under kfp.local."""
