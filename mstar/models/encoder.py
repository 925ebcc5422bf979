"""Requests and responses as token ids, positions and pixels, with the checkpoint's own tokenizer and image
processor. Needs no weights.

What a model cannot read is said with the name of the request: `UnusableRequest` for a prompt that is too
long or an image that the model refuses; a plain `UserError` for a file that is not there, which is nothing
about the request.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from jinja2 import TemplateError
from PIL import Image

from mstar.config import Images, Prompt
from mstar.datasets.images import UnreadableImage, decode_image, image_name, read_bytes
from mstar.errors import UnusableRequest, UserError
from mstar.models.families import build_family
from mstar.models.loading import load_config, load_image_processor, load_tokenizer
from mstar.models.plain_text import PlainText
from mstar.models.sequences import Encoded
from mstar.prompts import Request
from mstar.records import ImageSource

Item = TypeVar("Item")
DECODED_BYTES = 1 << 26
"""Decoded images that are in memory together on their way to pixels, unless one request has more."""


class Encoder:
    """Turns requests and responses into what the model reads."""

    def __init__(self, folder: Path, images: Images, prompt: Prompt, revision: str | None = None) -> None:
        self.config = load_config(folder, revision)
        self.tokenizer = load_tokenizer(folder, revision, self.config)
        self.image_processor = load_image_processor(folder, revision)
        try:
            self.family = build_family(self.config, self.tokenizer, self.image_processor, images)
        except UserError as error:
            raise UserError(f"model {folder}: {error}") from None
        self.folder = folder
        self.prompt = prompt
        placeholder = self.tokenizer.convert_ids_to_tokens(self.family.placeholder_id)
        image_ids = {self.family.placeholder_id, *self.family.never_sampled}
        self.plain_text = PlainText(self.tokenizer, placeholder, self.family.frame, image_ids)
        self.end_id = self.plain_text.end_of_turn()
        """Ends a response."""
        padding = self.tokenizer.pad_token_id
        self.pad_id: int = self.end_id if padding is None else padding

    def encode(self, requests: Sequence[Request]) -> list[Encoded]:
        """The tokens of each request up to where what is asked for begins, and the pixels of its images."""
        encoded: list[Encoded] = []
        for group, images in decode_in_groups(requests, self.decode_images):
            encoded += self.read_pixels(self.plan(group, images), images)
        return encoded

    def plan(self, requests: Sequence[Request], images: Sequence[Sequence[Image.Image]]) -> list[Encoded]:
        """The same without pixels; `images` are each request's, decoded."""
        try:
            prompts = self.plain_text.prompt_ids([request.messages for request in requests])
        except (TemplateError, TypeError) as error:
            raise UserError(
                f"model {self.folder}: its chat template does not take a message with images ({error})"
            ) from None
        return [
            self._plan(request, ids, [image.size for image in own])
            for request, ids, own in zip(requests, prompts, images, strict=True)
        ]

    def read_pixels(self, rows: Sequence[Encoded], images: Sequence[Sequence[Image.Image]]) -> list[Encoded]:
        """Planned rows with the pixels of their images, all of them read at once."""
        together = [image for own in images for image in own]
        shapes = [shape for row in rows for shape in row.shapes]
        pixels = iter(self.family.read_images(together, shapes) if together else ())
        return [replace(row, pixels=tuple(next(pixels) for _ in row.shapes)) for row in rows]

    def decode_images(self, request: Request) -> list[Image.Image]:
        """A file that cannot be read may be there next time: UserError. What is damaged stays so."""
        return [_decode(request, source) for source in request.images]

    def check(self, request: Request) -> None:
        """Raise UnusableRequest for what `encode` would refuse. Decodes the images, as most of what can be
        wrong is wrong with them, but makes no pixels of them.
        """
        self.plan([request], [self.decode_images(request)])

    def encode_responses(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of finished responses, end tokens included."""
        return [[*ids, self.end_id] for ids in self.plain_text.ids_of_each(texts)]

    def decode(self, ids: Sequence[int]) -> str:
        return str(
            self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    def _plan(self, request: Request, ids: list[int], sizes: Sequence[tuple[int, int]]) -> Encoded:
        shapes = tuple(self._shape(request, size, len(sizes) == 1) for size in sizes)
        expanded = self._expand(request, ids, shapes)
        if len(expanded) > self.prompt.max_tokens:
            raise UnusableRequest(
                request.id,
                f"has a prompt of {len(expanded)} tokens, and prompt.max_tokens is {self.prompt.max_tokens}",
            )
        row = Encoded(expanded, self.family.positions(expanded, shapes), shapes)
        return row.followed_by(self.plain_text.ids(request.prefix)) if request.prefix else row

    def _shape(self, request: Request, size: tuple[int, int], alone: bool) -> tuple[int, ...]:
        try:
            return self.family.image_shape(*size, alone)
        except ValueError as error:
            reason = f"has an image that the model's image processor refuses ({error})"
            raise UnusableRequest(request.id, reason) from None

    def _expand(self, request: Request, ids: list[int], shapes: Sequence[tuple[int, ...]]) -> list[int]:
        image_id = self.family.placeholder_id
        if ids.count(image_id) != len(shapes):
            raise UnusableRequest(
                request.id, f"has {len(shapes)} images but {ids.count(image_id)} image tokens in its prompt"
            )
        images = iter(shapes)
        return [
            token
            for one in ids
            for token in (self.family.image_ids(next(images)) if one == image_id else (one,))
        ]


def decode_in_groups(
    items: Iterable[Item], decode: Callable[[Item], Sequence[Image.Image]]
) -> Iterator[tuple[list[Item], list[Sequence[Image.Image]]]]:
    """Items in order, with their images, as many at once as `DECODED_BYTES` allow. What a photograph takes
    has nothing to do with the tokens that the model makes of it.
    """
    group: list[Item] = []
    images: list[Sequence[Image.Image]] = []
    held = 0
    for item in items:
        own = decode(item)
        if group and held + decoded_bytes(own) > DECODED_BYTES:
            yield group, images
            group, images, held = [], [], 0
        group.append(item)
        images.append(own)
        held += decoded_bytes(own)
    if group:
        yield group, images


def decoded_bytes(images: Iterable[Image.Image]) -> int:
    return sum(3 * image.width * image.height for image in images)


def _decode(request: Request, source: ImageSource) -> Image.Image:
    try:
        data = read_bytes(source)
    except UnreadableImage as error:
        raise UserError(
            f"problem {request.id}: {image_name(source)} {error}; put it back or drop the problem"
        ) from None
    try:
        return decode_image(ImageSource(data=data))
    except UnreadableImage as error:
        raise UnusableRequest(request.id, f"has an unreadable image: {image_name(source)} {error}") from None
