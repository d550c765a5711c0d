"""The team's own documents: read, cut, indexed and found. Needs the extra `knowledge`."""
