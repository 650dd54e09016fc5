"""A notifier for tests, which writes what it reports to a file."""

from pathlib import Path
from typing import Any

from airflow.sdk import BaseNotifier


class FileNotifier(BaseNotifier):
    """Writes a text to a file."""

    template_fields = ("text",)

    def __init__(self, folder: str, text: str = "{{ event }}: {{ summary }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = folder
        self.text = text

    def notify(self, context: Any) -> None:
        """Write the text to a file that is named by the event."""
        (Path(self.folder) / f"{context['event']}.txt").write_text(self.text)
