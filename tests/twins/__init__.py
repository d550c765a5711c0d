"""Wire-level fakes of chat platforms: servers on loopback that the real SDKs talk to."""
