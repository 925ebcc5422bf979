"""Problems on disk: reading them row by row from every format, decoding their images, checking a whole file.

`open_problems(path)` recognises what is there (JSONL, Parquet, a Hugging Face dataset folder, MathV360K,
MathVista) and gives a `ProblemFile`, which reads only the rows that are asked for. `check_problems(path)`
looks at every row and every image and names all that is wrong. Pixels are decoded in one place, `load_image`.
No tokens, no prompts, no torch here.

One module each: rows (a row of ours becomes a Problem), mathv360k and mathvista (their rows become rows of
ours), json_rows and table_rows (getting at single rows of a file), problem_file, opening, images, checking.
"""

from mstar.datasets.checking import CheckResult, Flaw, check_problems, print_check
from mstar.datasets.images import load_image
from mstar.datasets.opening import open_problems
from mstar.datasets.problem_file import ProblemFile

__all__ = [
    "CheckResult",
    "Flaw",
    "ProblemFile",
    "check_problems",
    "load_image",
    "open_problems",
    "print_check",
]
