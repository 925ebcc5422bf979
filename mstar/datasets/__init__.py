"""Problems on disk: reading them row by row from every format, decoding their images, checking a whole file.

`open_problems(path)` recognises what is there (JSONL, Parquet, a Hugging Face dataset folder, and the forms
of published sets) and gives a `ProblemFile`, which reads only the rows that are asked for and knows the ids,
sources and identity of all of them from an index. `checking.check_problems(path)` looks at every row and
every image and names all that is wrong; `overlap.shared_problems(train, test)` finds what stands in both.
Pixels are decoded in one place, `load_image`. No tokens, no prompts, no torch here.

One module each: rows (a row of ours becomes a Problem), values (single values, and how messages show them),
formats (rows of published sets become rows of ours), own_columns and placeholders (a user's own names),
json_rows, tsv_rows and table_rows (getting at single rows of a file), files, bucket_files and hub_files
(where they lie), bucket_images, index and image_hashes (what is remembered of a file and of the images beside
it), held, problem_file, opening, images, checking, odd_golds, overlap.
"""

from mstar.datasets.files import Reading
from mstar.datasets.images import load_image
from mstar.datasets.opening import open_problems
from mstar.datasets.own_columns import parse_columns
from mstar.datasets.problem_file import ProblemFile

__all__ = [
    "ProblemFile",
    "Reading",
    "load_image",
    "open_problems",
    "parse_columns",
]
