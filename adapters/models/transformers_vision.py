"""Phi-3-Vision and Phi-3.5-Vision out of native parts: a CLIP tower, the glue, a Phi-3.

The glue is that of the model's own code, which no longer runs (facts: phi.md 1.3, 2.2): crops
of 336 pixels, patches merged two by two, a learned newline after each row, the sub-crops, a
learned separator, the whole picture; then two linear layers into the width of Phi-3.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from adapters.models.crops import crops_of
from adapters.models.transformers_rows import ATTENTION
from agents.ports import ImageData
from agents.prompts.image_cost import image_tokens, size_of

SIDE = 336
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_SPREAD = (0.26862954, 0.26130258, 0.27577711)
_TAG = re.compile(r"<\|image_(\d+)\|>")
_BEGIN = 1  # `<s>`, which the model's processor puts before every piece of text
_EYES = "model.vision_embed_tokens."
_TOWER = _EYES + "img_processor.vision_model."
_PATCHES = 24  # a side, of 14 pixels each
_CLIP_HEAD = 64


def load_vision(path: Path, config: dict[str, Any], *, device: str) -> tuple[Any, Eyes]:
    """The language model and its eyes; raises `KeyError` or `RuntimeError` for other weights."""
    torch, library = importlib.import_module("torch"), importlib.import_module("transformers")
    weights = _weights(path)
    seen = {name: weights.pop(name) for name in list(weights) if name.startswith(_EYES)}
    text = {key: value for key, value in config.items() if key not in _NOT_TEXT}
    dtype = next(iter(weights.values())).dtype
    dtype = torch.float32 if device == "cpu" and dtype == torch.float16 else dtype
    settings = library.Phi3Config(**text, attn_implementation=ATTENTION)
    with torch.device("meta"):  # no memory but that of the weights
        model = library.Phi3ForCausalLM(settings)
    model.load_state_dict(weights, strict=True, assign=True)
    rotary = type(model.model.rotary_emb)(settings)
    del model.model.rotary_emb
    model.eval().to(device=device, dtype=dtype)
    model.model.rotary_emb = rotary.to(device)  # half precision would blur the positions
    return model, Eyes(seen, crops=crops_of(path), device=device, dtype=dtype)


_NOT_TEXT = ("architectures", "auto_map", "embd_layer", "img_processor", "model_type")


def _weights(path: Path) -> dict[str, Any]:
    load_file = importlib.import_module("safetensors.torch").load_file
    weights: dict[str, Any] = {}
    for file in sorted(path.glob("*.safetensors")):
        weights |= load_file(file)
    if not weights:
        raise RuntimeError("no *.safetensors in the folder")
    return weights


class Eyes:
    """The CLIP tower and the glue; every size follows from the weights."""

    def __init__(self, weights: dict[str, Any], *, crops: int, device: str, dtype: Any) -> None:
        self._torch = importlib.import_module("torch")
        self.crops, self._device, self._dtype = crops, device, dtype
        self._tower = self._clip(weights).eval().to(device=device, dtype=dtype)
        nn = self._torch.nn
        first = weights[_EYES + "img_projection.0.weight"]
        width = first.shape[0]
        self._projection = nn.Sequential(
            nn.Linear(first.shape[1], width), nn.GELU(), nn.Linear(width, width)
        )
        self._projection.load_state_dict(_below(weights, _EYES + "img_projection."))
        self._projection.eval().to(device=device, dtype=dtype)
        self._newline = weights[_EYES + "sub_GN"].to(device=device, dtype=dtype).reshape(-1)
        self._separator = weights[_EYES + "glb_GN"].to(device=device, dtype=dtype).reshape(-1)

    def _clip(self, weights: dict[str, Any]) -> Any:
        library = importlib.import_module("transformers")
        own = _below(weights, _TOWER)
        width = own["embeddings.class_embedding"].shape[0]
        layers = {name.split(".")[2] for name in own if name.startswith("encoder.layers.")}
        tower = library.CLIPVisionModel(
            library.CLIPVisionConfig(
                hidden_size=width,
                intermediate_size=own["encoder.layers.0.mlp.fc1.weight"].shape[0],
                num_hidden_layers=len(layers),
                num_attention_heads=width // _CLIP_HEAD,
                image_size=SIDE,
                patch_size=SIDE // _PATCHES,
                projection_dim=width,
            )
        )
        names = set(tower.state_dict())
        prefix = "vision_model." if any(name.startswith("vision_model.") for name in names) else ""
        loaded = {prefix + name: value for name, value in own.items()}
        loaded.pop(prefix + "embeddings.position_ids", None)  # older files carry the numbers
        tower.load_state_dict(loaded, strict=True)
        return tower

    def pictures(self, images: Sequence[ImageData]) -> Pictures:
        return Pictures(self, images)

    def features(self, image: ImageData) -> Any:
        """(tokens, width): what the language model reads in place of the picture."""
        torch = self._torch
        pixels = self._pixels(image)
        high, wide = pixels.shape[1] // SIDE, pixels.shape[2] // SIDE
        whole = torch.nn.functional.interpolate(
            pixels[None], size=(SIDE, SIDE), mode="bicubic", align_corners=False
        )
        crops = pixels.reshape(3, high, SIDE, wide, SIDE).permute(1, 3, 0, 2, 4)
        views = torch.cat([whole, crops.reshape(-1, 3, SIDE, SIDE)])
        seen = self._tower(
            views.to(device=self._device, dtype=self._dtype), output_hidden_states=True
        ).hidden_states[-2][:, 1:]
        parts = [
            self._lines(seen[1:], high, wide),
            self._separator[None],
            self._lines(seen[:1], 1, 1),
        ]
        return self._projection(torch.cat(parts))

    def _lines(self, seen: Any, high: int, wide: int) -> Any:
        """Crops (high·wide, 576, width) as rows of merged patches, each ended by a newline."""
        half, width = _PATCHES // 2, seen.shape[-1]
        patches = seen.reshape(high, wide, half, 2, half, 2, width)
        merged = patches.permute(0, 2, 1, 4, 3, 5, 6)
        rows = merged.reshape(high * half, wide * half, 4 * width)
        newline = self._newline.expand(high * half, 1, -1)
        return self._torch.cat([rows, newline], dim=1).reshape(-1, 4 * width)

    def _pixels(self, image: ImageData) -> Any:
        """The picture scaled and padded to whole crops: (3, high·336, wide·336), normalised."""
        import numpy
        from PIL import Image

        with Image.open(io.BytesIO(image.data), formats=["PNG", "JPEG"]) as opened:
            picture = opened.convert("RGB")
        upright = picture.width < picture.height
        if upright:
            picture = picture.transpose(Image.Transpose.TRANSPOSE)
        ratio = picture.width / picture.height
        scale = 1
        while (scale + 1) * math.ceil((scale + 1) / ratio) <= self.crops:
            scale += 1
        width = scale * SIDE
        height = max(int(width / ratio), 1)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        padded = Image.new("RGB", (width, math.ceil(height / SIDE) * SIDE), "white")
        padded.paste(picture, (0, (padded.height - height) // 2))
        if upright:
            padded = padded.transpose(Image.Transpose.TRANSPOSE)
        values = numpy.asarray(padded, dtype=numpy.float32) / 255
        values = (values - numpy.array(_MEAN, numpy.float32)) / numpy.array(_SPREAD, numpy.float32)
        return self._torch.from_numpy(values.transpose(2, 0, 1).copy())


class Pictures:
    """A prompt's pictures as ids: negative, the same for the same picture in a later prompt."""

    def __init__(self, eyes: Eyes, images: Sequence[ImageData]) -> None:
        self._eyes = eyes
        self._images = {_first_id(image): image for image in images}
        self._firsts = [_first_id(image) for image in images]
        self._features: dict[int, Any] = {}

    def prompt(self, text: str, encode: Callable[[str], list[int]]) -> list[int]:
        """The ids of a prompt, each picture at its tag."""
        ids: list[int] = []
        for place, piece in enumerate(_TAG.split(text)):
            if place % 2 == 0:
                ids += [_BEGIN, *encode(piece)]
            else:
                first = self._firsts[int(piece) - 1]
                ids += range(first, first - self._count(first), -1)
        return ids

    def _count(self, first: int) -> int:
        size = size_of(self._images[first])
        if size is None:  # a header that only the decoder understands
            return len(self._seen(first))
        return image_tokens(*size, self._eyes.crops)

    def put_into(self, embedded: Any, ids: Sequence[int]) -> Any:
        """Embeddings (1, ids, width) with the pictures' features at the negative ids."""
        for place, one in enumerate(ids):
            if one < 0:
                first = min(each for each in self._firsts if each >= one)
                embedded[0, place] = self._seen(first)[first - one]
        return embedded

    def _seen(self, first: int) -> Any:
        if first not in self._features:
            self._features[first] = self._eyes.features(self._images[first])
        return self._features[first]


_ROOM = 1 << 20  # ids of one picture; more than any has tokens


def _first_id(image: ImageData) -> int:
    digest = hashlib.sha256(image.data).digest()
    return -(int.from_bytes(digest[:5], "big") * _ROOM + 1)


def _below(weights: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }
