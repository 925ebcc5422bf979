"""Configurations of tiny models in every family."""

from typing import Any

import transformers

from tests.tiny_processors import GRIDS, TILE

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": TILE,
    "patch_size": TILE // 2,
}
WINDOW = 16
"""Tokens that the sliding layer of Gemma 3 sees; shorter than the tests' prompts."""


def build_config(model_type: str, tokenizer: Any, changes: dict[str, Any]) -> Any:
    """`changes` are made to the text model's."""
    text = {**TEXT, "vocab_size": len(tokenizer) + 3, "pad_token_id": tokenizer.pad_token_id}
    if model_type.startswith("qwen"):
        return _qwen_config(model_type, tokenizer, {**text, **changes})
    return _tower_config(model_type, tokenizer.convert_tokens_to_ids, text, changes)


def _qwen_config(model_type: str, tokenizer: Any, text: dict[str, Any]) -> Any:
    token = tokenizer.convert_tokens_to_ids
    special = {
        "image_token_id": token("<|image_pad|>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
        "tie_word_embeddings": False,
    }
    vision = {"depth": 1, "hidden_size": 32, "num_heads": 2}
    head_size = text["hidden_size"] // text["num_attention_heads"]
    sections = [head_size // 8, head_size // 8, head_size // 4]
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections}
    if model_type == "qwen2_vl":
        own = {**vision, "embed_dim": 32, "mlp_ratio": 2}
        return transformers.Qwen2VLConfig(
            text_config={**text, "rope_parameters": rope}, vision_config=own, **special
        )
    vision |= {"intermediate_size": 48, "out_hidden_size": 32}
    if model_type == "qwen2_5_vl":
        return transformers.Qwen2_5_VLConfig(
            text_config={**text, "rope_parameters": rope}, vision_config=vision, **special
        )
    vision |= {"patch_size": 14, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    own = {"head_dim": head_size, "rope_parameters": {**rope, "mrope_interleaved": True}}
    return transformers.Qwen3VLConfig(text_config={**own, **text}, vision_config=vision, **special)


def _tower_config(model_type: str, token: Any, text: dict[str, Any], changes: dict[str, Any]) -> Any:
    untied: dict[str, Any] = {"tie_word_embeddings": False}
    siglip = {**VISION, "model_type": "siglip_vision_model", "vision_use_head": False}
    match model_type:
        case "internvl":
            return transformers.InternVLConfig(
                text_config={"model_type": "qwen2", **untied, **text, **changes},
                vision_config=VISION, image_token_id=token("<image>"), image_seq_length=1, **untied,
            )  # fmt: skip
        case "llava_onevision":
            return transformers.LlavaOnevisionConfig(
                text_config={"model_type": "qwen2", **text, **changes}, vision_config=siglip,
                image_token_index=token("<image>"), video_token_index=token("<video>"),
                image_grid_pinpoints=GRIDS, vision_aspect_ratio="anyres_max_4", **untied,
            )  # fmt: skip
        case "idefics3" | "smolvlm":
            kind = transformers.Idefics3Config if model_type == "idefics3" else transformers.SmolVLMConfig
            return kind(
                text_config={"model_type": "llama", **text, **changes}, vision_config=VISION,
                image_token_id=token("<image>"), scale_factor=2, pad_token_id=text["pad_token_id"], **untied,
            )  # fmt: skip
        case "gemma3":
            layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
            return transformers.Gemma3Config(
                text_config={"head_dim": 8, "query_pre_attn_scalar": 8, **layers, **text, **changes},
                vision_config={**VISION, "patch_size": TILE // 4, "vision_use_head": False},
                mm_tokens_per_image=4, image_token_index=token("<image_soft_token>"),
                boi_token_index=token("<start_of_image>"), eoi_token_index=token("<end_of_image>"), **untied,
            )  # fmt: skip
        case "mistral3":
            pixtral = {**VISION, "model_type": "pixtral", "head_dim": 16, "patch_size": TILE // 4}
            return transformers.Mistral3Config(
                text_config={"model_type": "mistral", "sliding_window": None, **text, **changes},
                vision_config=pixtral, image_token_index=token("[IMG]"), spatial_merge_size=2, **untied,
            )  # fmt: skip
    raise ValueError(model_type)
