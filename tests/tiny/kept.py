"""A folder for what takes long to make, named by its recipe, shared by all test processes."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/firstline/tiny`, or below the home folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "firstline" / "tiny"


def kept(name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, made anew when `recipe` (source text, versions) changes.

    Two processes may make it at once; the first to finish is kept.
    """
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    folder = cache_root() / f"{name}-{digest}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    try:
        make(part)
        part.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder
