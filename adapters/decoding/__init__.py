"""Strangers' files, read in processes of their own: pictures, documents and videos."""
