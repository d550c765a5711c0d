"""Errors of the knowledge base.

KnowledgeError        names the source or document and the remedy, never its text
"""

from __future__ import annotations


class KnowledgeError(Exception):
    """The knowledge base can't do what was asked."""
