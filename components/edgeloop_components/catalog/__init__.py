"""The catalog: versions, aliases, packages and runs of each loop as documents in the object store, with an audit log."""
