"""What a run achieved, for people and programs: `report.html`, `summary.json` and `metrics.jsonl`.

All three are views that are rebuilt from the stage folders, so they can neither miss nor repeat anything. One
way through: history reads the folders, comparison pairs the first and the last answers, summary and
metric_lines condense them, headline says what to know first; figures draws with charts, examples picks
problems, page makes one file of it.
No torch here.
"""
