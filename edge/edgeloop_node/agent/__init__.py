"""The agent of a node: reads the counts of its servers, keeps them on disk, and delivers them until they are acknowledged."""
