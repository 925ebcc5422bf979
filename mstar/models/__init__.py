"""Vision-language models as the engine, the trainer and the process reward model all see them.

`Encoder` turns requests and responses into token ids, positions and pixels; `collate` makes one padded batch;
`load_model` reads the weights. There is one image processor and one place where image tokens are counted, so
that rollouts and training cannot disagree about them. What differs between families of models is behind the
protocol `Family`.

One module each: encoder, sequences (Encoded and collate), plain_text (what people wrote cannot spell special
tokens), families (the protocol and its factory), its members (qwen_vl, internvl, llava_onevision, idefics3,
gemma3, mistral3; tower is what most of them share, image_limits how they keep to `images`), packing (rows of
several sequences), loading, adapters, threads.
"""

from mstar.models.encoder import Encoder
from mstar.models.families import FAMILIES, Family, part_of
from mstar.models.loading import load_model
from mstar.models.packing import pack, prepare_for_packs
from mstar.models.sequences import Encoded, collate
from mstar.models.threads import set_threads

__all__ = [
    "FAMILIES",
    "Encoded",
    "Encoder",
    "Family",
    "collate",
    "load_model",
    "pack",
    "part_of",
    "prepare_for_packs",
    "set_threads",
]
