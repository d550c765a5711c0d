"""The test kit: a fake Slack and a fake Discord on the wire, for tests of any bot."""
