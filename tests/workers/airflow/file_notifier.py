"""A notifier for tests, which writes what it reports to a file."""

from pathlib import Path
from typing import Any

from airflow.sdk import BaseNotifier


class FileNotifier(BaseNotifier):
    """Writes a text to a file."""

    template_fields = ("text",)

    def __init__(self, folder: str, name: str = "", text: str = "{{ event }}: {{ summary }}", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder = folder
        self.name = name
        self.text = text

    def notify(self, context: Any) -> None:
        """Write the text to a file that is named by the event."""
        event = f"{self.name}.{context['event']}" if self.name else context["event"]
        (Path(self.folder) / f"{event}.txt").write_text(self.text)
