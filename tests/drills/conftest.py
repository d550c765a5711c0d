"""What every drill can use; a drill elsewhere imports the fixture from `tests.drills.figures`."""

from __future__ import annotations

from tests.drills.figures import record_figure as record_figure
