# ruff: noqa: F821
# Added by components/Dockerfile. Triton compiles one module before its first kernel, the same on every
# machine, and keeps it in its cache. Here it was compiled with the image, which has no compiler.
_compile = _build


def _build(name, *arguments):
    """The path of a compiled module."""
    made = os.path.join(os.path.dirname(__file__), f"{name}.so")
    return made if os.path.exists(made) else _compile(name, *arguments)
