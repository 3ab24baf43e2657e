"""Filter a text data set for fine-tuning: JSONL or parquet in, kept rows, dropped rows with reasons, and a report out.

from kaggle_utils.data.filtering import FilterSettings, filter_files
report = filter_files("synthetic.jsonl", "filtered.jsonl", settings=FilterSettings(blocklist=("松下",)))
print(report.to_text())
"""

from .report import FilterReport, StageReport
from .runner import filter_files
from .settings import FilterSettings

__all__ = ["FilterReport", "FilterSettings", "StageReport", "filter_files"]
