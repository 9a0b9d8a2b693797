"""Pretrained language models: found by name or folder, checked, and read without running code.

Needs the extra `cmir-sweep[text]` (Hugging Face transformers), which is imported only when a model
or its tokenizer is loaded. Weights are safetensors; a repository that has none but
`pytorch_model.bin` is read by torch with `weights_only`, which builds tensors and nothing else.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from cmir.checksums import file_sha256
from cmir.errors import InputError

FAMILIES = ("albert", "bert", "deberta", "deberta-v2")
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "spm.model", "spiece.model", "vocab.json")

SETTINGS_FILE = "config.json"
SAFE_WEIGHTS, PICKLED_WEIGHTS = "model*.safetensors", "pytorch_model*.bin"
_SMALL_FILES = ("*.json", "*.txt", "*.model")
_NUMBERS = ("hidden_size", "num_hidden_layers", "max_position_embeddings", "vocab_size")
_INSTALL = "pip install 'cmir-sweep[text]'"


@dataclass(frozen=True)
class Backbone:
    """A language model in a folder; nothing is loaded before it is used.

    Attributes:
        name: as it was asked for, a name of the Hugging Face hub or a folder.
        folder: where its files are.
        family: one of `FAMILIES`.
        width: size D of its token vectors.
        layers: number of layers, the embedding not counted.
        longest: most tokens of a text that it takes, special ones included.
        vocabulary: number of token ids.
    """

    name: str
    folder: Path
    family: str
    width: int
    layers: int
    longest: int
    vocabulary: int

    @cached_property
    def tokenizer(self) -> Any:
        """Its tokenizer.

        Raises:
            InputError: the folder has none, or it cannot be read.
        """
        self.check_tokenizer()
        with _reading(self.folder) as transformers:
            return transformers.AutoTokenizer.from_pretrained(
                str(self.folder), local_files_only=True, trust_remote_code=False
            )

    def check_tokenizer(self) -> None:
        """Raises InputError where there is no file of a tokenizer; loads nothing."""
        if not any((self.folder / file).is_file() for file in TOKENIZER_FILES):
            raise InputError(
                f"{self.folder}: to read raw text there must be a tokenizer beside the model, one "
                f"of {', '.join(TOKENIZER_FILES)}, but there is {_content(self.folder)}."
            )

    @property
    def sha256(self) -> str:
        """Hash of the weights: of one file what `sha256sum` prints, else of these hashes joined."""
        hashes = [file_sha256(file) for file in self._weight_files()]
        return (
            hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
        )

    def load(self) -> torch.nn.Module:
        """A new copy of the model in float32 on the CPU, in evaluation mode, without its pooler.

        Raises:
            InputError: the weights are not those of the model that `config.json` describes.
        """
        is_safe = self._weight_files()[0].suffix == ".safetensors"
        with _reading(self.folder) as transformers:
            model, found = transformers.AutoModel.from_pretrained(
                str(self.folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=is_safe,
                dtype=torch.float32,
                output_loading_info=True,
            )
        # A weight that is missing would silently stay random.
        missing = sorted(key for key in found["missing_keys"] if not key.startswith("pooler"))
        if missing:
            raise InputError(
                f"{self.folder}: the weights must hold every part of the model, but lack "
                f"{len(missing)}, such as {missing[0]}. Get the model's files again."
            )
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        module: torch.nn.Module = model.eval()
        return module

    def _weight_files(self) -> list[Path]:
        return sorted(self.folder.glob(SAFE_WEIGHTS)) or sorted(self.folder.glob(PICKLED_WEIGHTS))


def find_backbone(name: str, download: bool = False) -> Backbone:
    """Finds a language model and reads its sizes; loads no weights.

    Args:
        name: a folder, or a name of the hub such as `google-bert/bert-base-uncased`.
        download: whether a name that is not in the local cache may be fetched from the hub; only
            settings, tokenizer and weights are, no code.

    Raises:
        InputError: transformers is not installed, no such folder or name, files are missing, or
            the model is of another family.
    """
    if importlib.util.find_spec("transformers") is None:
        raise InputError(
            f"{name}: language models need the extra 'text', which is not installed: {_INSTALL}"
        )
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
            raise InputError(
                f"{name}: there is no such folder. A language model is a folder with "
                f"{SETTINGS_FILE}, {SAFE_WEIGHTS} and a tokenizer ({', '.join(TOKENIZER_FILES)}), "
                "or a name of the Hugging Face hub."
            )
        folder = _from_hub(name, download)
    return _described(name, folder)


def _from_hub(name: str, download: bool) -> Path:
    from huggingface_hub import snapshot_download  # Only needed for names, slow to import.

    def fetched(*patterns: str) -> Path:
        return Path(
            snapshot_download(name, allow_patterns=list(patterns), local_files_only=not download)
        )

    try:
        folder = fetched(*_SMALL_FILES, SAFE_WEIGHTS)
        if not any(folder.glob(SAFE_WEIGHTS)):
            folder = fetched(*_SMALL_FILES, PICKLED_WEIGHTS)
    except (OSError, ValueError) as error:
        place = "on the hub, or the hub cannot be reached" if download else "in the local cache"
        raise InputError(
            f"{name}: there is no folder of this name, and no such model {place} "
            f"({type(error).__name__}). Fetch it where there is a network with `hf download "
            f"{name}`, or put {SETTINGS_FILE}, model.safetensors and its tokenizer "
            f"({', '.join(TOKENIZER_FILES)}) into a folder and give that."
        ) from None
    return folder


def _described(name: str, folder: Path) -> Backbone:
    settings = _settings(folder)
    family = settings.get("model_type")
    if family not in FAMILIES:
        raise InputError(
            f"{folder / SETTINGS_FILE}: model_type must be one of {', '.join(FAMILIES)}, but got "
            f"{family!r}."
        )
    wrong = [key for key in _NUMBERS if not isinstance(settings.get(key), int)]
    if wrong:
        raise InputError(f"{folder / SETTINGS_FILE}: must hold the number {', '.join(wrong)}.")
    if not any([*folder.glob(SAFE_WEIGHTS), *folder.glob(PICKLED_WEIGHTS)]):
        raise InputError(
            f"{folder}: must hold the model's weights, {SAFE_WEIGHTS} or {PICKLED_WEIGHTS}, but "
            f"there is {_content(folder)}."
        )
    return Backbone(name, folder, family, *(settings[key] for key in _NUMBERS))


def _settings(folder: Path) -> dict[str, Any]:
    file = folder / SETTINGS_FILE
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder}: a language model's folder must hold {SETTINGS_FILE}, but there is "
            f"{_content(folder)}."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: must be readable JSON, but: {error}.") from None
    if not isinstance(settings, dict):
        raise InputError(f"{file}: must be a JSON object, but got {type(settings).__name__}.")
    return settings


def _content(folder: Path) -> str:
    names: Sequence[str] = sorted(file.name for file in folder.iterdir())
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"


def _reason(error: Exception) -> str:
    if "ignore_mismatched_sizes" in str(error):  # It points to a report that is not shown here.
        return f"the weights have other sizes than {SETTINGS_FILE} says. They belong to two models."
    return "".join(str(error).strip().splitlines()[:1])


@contextmanager
def _reading(folder: Path) -> Iterator[Any]:
    """transformers without its bars and hints; what it raises becomes an error of the input."""
    import transformers
    from transformers.utils import logging

    level, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield transformers
    except (
        Exception
    ) as error:  # Of any kind: the files are a stranger's, several libraries read them.
        raise InputError(f"{folder}: the model cannot be read: {_reason(error)}") from None
    finally:
        logging.set_verbosity(level)
        if had_bar:
            logging.enable_progress_bar()
