"""`<image>` in a question marks the place of an image; how it is put to the model is in prompts.py."""

from mstar.datasets.rows import PLACES

PLACEHOLDER = "<image>"


def places_of(question: object) -> dict[str, object]:
    """The question without its placeholders, and where these were: characters before each."""
    if not isinstance(question, str) or PLACEHOLDER not in question:
        return {}
    parts = question.strip().split(PLACEHOLDER)
    parts[0], parts[-1] = parts[0].lstrip(), parts[-1].rstrip()
    ends, text = [], ""
    for part in parts:
        text += part if text else part.lstrip()
        ends.append(len(text))
    return {"question": text, PLACES: ends[:-1]}
