"""Where objects live: S3 through one small port, and a SeaweedFS child process for one machine."""
