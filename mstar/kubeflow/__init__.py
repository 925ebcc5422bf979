"""Kubeflow Pipelines: compiling the pipelines, and talking to the server. Needs the extra `pipelines`.

The tasks are in the folders `components/` and `pipelines/` at the top of the repository. They belong to this
package: a wheel has them inside it, and a checkout beside `mstar/`, where they are found all the same.
"""

from pathlib import Path

__path__ = [*__path__, str(Path(__file__).parents[2])]
