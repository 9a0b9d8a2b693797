"""Pretrained language models: found by name or folder, checked, and read without running code.

Needs the extra `cmir-sweep[text]` (Hugging Face transformers), which is imported only when a model
is looked for. Any encoder that transformers' `AutoModel` reads will do. Weights are safetensors and
nothing else: a pickle is never opened.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch

from cmir.checksums import file_sha256
from cmir.errors import InputError
from cmir.method.language.pretrained.packaged_weights import PACKAGED, packaged_folder

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "spm.model", "spiece.model", "vocab.json")

SETTINGS_FILE = "config.json"
WEIGHTS = "model*.safetensors"
_SMALL_FILES = ("*.json", "*.txt", "*.model")
_NUMBERS = ("hidden_size", "num_hidden_layers", "vocab_size")
_INSTALL = "pip install 'cmir-sweep[text]'"


@dataclass(frozen=True)
class Backbone:
    """A language model in a folder; its weights are not loaded before they are used.

    Attributes:
        name: as it was asked for, a name of `PACKAGED` or of the Hugging Face hub, or a folder.
        folder: where its files are.
        family: its architecture, as transformers names it.
        width: size D of its token vectors.
        layers: number of layers, the embedding not counted.
        vocabulary: number of token ids.
    """

    name: str
    folder: Path
    family: str
    width: int
    layers: int
    vocabulary: int

    @cached_property
    def tokenizer(self) -> Any:
        """Its tokenizer.

        Raises:
            InputError: the folder has none, it cannot be read, or it is another model's.
        """
        self.check_tokenizer()
        states = (
            (f, f.stat()) for f in (self.folder / name for name in TOKENIZER_FILES) if f.is_file()
        )
        found = _tokenizer(
            self.folder, tuple((str(f), s.st_size, s.st_mtime_ns) for f, s in states)
        )
        if len(found) > self.vocabulary:
            raise InputError(
                f"{self.folder}: the tokenizer must be the model's own, which has "
                f"{self.vocabulary} token ids, but it has {len(found)}. Get the tokenizer's files "
                "of this model."
            )
        return found

    @property
    def shown_name(self) -> str:
        """Its name; of a folder the last part, as paths are nobody else's."""
        return self.folder.name if Path(self.name).is_dir() else self.name

    @property
    def has_tokenizer(self) -> bool:
        """Whether there is a file of a tokenizer, or it was read before."""
        return "tokenizer" in vars(self) or any(
            (self.folder / file).is_file() for file in TOKENIZER_FILES
        )

    def check_tokenizer(self) -> None:
        """Raises InputError where there is no file of a tokenizer; loads nothing."""
        if not self.has_tokenizer:
            raise InputError(
                f"{self.folder}: to read raw text there must be a tokenizer beside the model, one "
                f"of {', '.join(TOKENIZER_FILES)}, but there is {_content(self.folder)}."
            )

    @property
    def files(self) -> list[Path]:
        """Its settings, tokenizer and weights; no code, and no pickle."""
        return sorted({f for p in (*_SMALL_FILES, WEIGHTS) for f in self.folder.glob(p)})

    @property
    def sha256(self) -> str:
        """Hash of the weights: of one file what `sha256sum` prints, else of these hashes joined."""
        return _weights_sha256(self.folder)

    @property
    def settings_sha256(self) -> str:
        """Hash of `config.json`, which says how the weights are used."""
        return file_sha256(self.folder / SETTINGS_FILE)

    @cached_property
    def skeleton(self) -> torch.nn.Module:
        """The model without any weights: what it is made of, and in which order."""
        with _reading(self.folder) as transformers, torch.device("meta"):
            model: torch.nn.Module = transformers.AutoModel.from_config(
                _configuration(transformers, self.folder), trust_remote_code=False
            )
        return model

    @cached_property
    def longest(self) -> int:
        """Most tokens of a text that it takes, special ones included.

        Where positions are counted from behind the padding's, as RoBERTa does, fewer than there
        are places in its table.
        """
        for name, module in self.skeleton.named_modules():
            if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
                first = 0 if module.padding_idx is None else module.padding_idx + 1
                return module.num_embeddings - first
        return int(self.skeleton.config.max_position_embeddings)  # type: ignore[union-attr, arg-type]

    def load(self) -> torch.nn.Module:
        """A new copy of the model in float32 on the CPU, in evaluation mode, without its pooler.

        Raises:
            InputError: the weights are not those of the model that `config.json` describes.
        """
        with _reading(self.folder) as transformers:
            model, found = transformers.AutoModel.from_pretrained(
                str(self.folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
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


def find_backbone(name: str, download: bool = False) -> Backbone:
    """Finds a language model and reads its sizes; loads no weights.

    Args:
        name: a name of `PACKAGED`, a folder, or a name of the hub such as
            `google-bert/bert-base-uncased`.
        download: whether a name that is not in the local cache may be fetched from the hub; only
            settings, tokenizer and weights are, no code.

    Raises:
        InputError: transformers is not installed, no such folder or name, files are missing, or
            they are not those of an encoder.
    """
    if importlib.util.find_spec("transformers") is None:
        raise InputError(
            f"{name}: language models need the extra 'text', which is not installed: {_INSTALL}"
        )
    if name in PACKAGED:
        return _packaged(name)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
            raise InputError(
                f"{name}: there is no such folder. A language model is a folder with "
                f"{SETTINGS_FILE}, {WEIGHTS} and a tokenizer ({', '.join(TOKENIZER_FILES)}), or "
                f"{', '.join(PACKAGED)}, or a name of the Hugging Face hub."
            )
        folder = _from_hub(name, download)
    return _described(name, folder)


def _packaged(name: str) -> Backbone:
    found, wanted = _described(name, packaged_folder(name)), PACKAGED[name]
    if found.sha256 != wanted.sha256:
        raise InputError(
            f"{found.folder}: the weights of '{name}' must have the SHA-256 {wanted.sha256}, but "
            f"have {found.sha256}. Install the package {wanted.package} again."
        )
    return found


def _from_hub(name: str, download: bool) -> Path:
    from huggingface_hub import snapshot_download  # Only needed for names, slow to import.

    try:
        return Path(
            snapshot_download(
                name, allow_patterns=[*_SMALL_FILES, WEIGHTS], local_files_only=not download
            )
        )
    except (OSError, ValueError) as error:
        place = "on the hub, or the hub cannot be reached" if download else "in the local cache"
        raise InputError(
            f"{name}: there is no folder of this name, and no such model {place} "
            f"({type(error).__name__}). Fetch it where there is a network with `hf download "
            f"{name}`, or put {SETTINGS_FILE}, model.safetensors and its tokenizer "
            f"({', '.join(TOKENIZER_FILES)}) into a folder and give that."
        ) from None


def _described(name: str, folder: Path) -> Backbone:
    settings = _settings(folder)
    family = settings.get("model_type")
    with _reading(folder) as transformers:
        from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

        found = None
        if family in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
            found = _configuration(transformers, folder)
    if found is None or found.is_encoder_decoder:
        raise InputError(
            f"{folder / SETTINGS_FILE}: model_type must be that of an encoder, such as bert, "
            f"roberta, deberta-v2 or modernbert, but got {family!r}."
        )
    wrong = [key for key in _NUMBERS if not isinstance(getattr(found, key, None), int)]
    if wrong:
        raise InputError(f"{folder / SETTINGS_FILE}: must hold the number {', '.join(wrong)}.")
    _check_weights(folder)
    return Backbone(name, folder, str(family), *(getattr(found, key) for key in _NUMBERS))


def _check_weights(folder: Path) -> None:
    if any(folder.glob(WEIGHTS)):
        return
    pickled = sorted(file.name for file in folder.glob("*.bin"))
    advice = "Get the model's files again."
    if pickled:
        advice = (
            f"{pickled[0]} is a pickle, which is never opened here: where you trust it, write "
            "safetensors with transformers' AutoModel.from_pretrained(...).save_pretrained(...)."
        )
    raise InputError(
        f"{folder}: must hold the model's weights, {WEIGHTS}, but there is {_content(folder)}. "
        f"{advice}"
    )


def _configuration(transformers: Any, folder: Path) -> Any:
    return transformers.AutoConfig.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False
    )


def _weights_sha256(folder: Path) -> str:
    files = sorted(folder.glob(WEIGHTS))
    hashes = [_file_sha256(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


@lru_cache(maxsize=8)
def _tokenizer(folder: Path, states: tuple[tuple[str, int, int], ...]) -> Any:
    del states  # They only tell one state of the files from another.
    with _reading(folder) as transformers:
        return transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )


@lru_cache(maxsize=64)
def _file_sha256(file: str, size: int, changed: int) -> str:
    """Read once per process: trials ask for it again and again."""
    del size, changed  # They only tell one state of the file from another.
    return file_sha256(Path(file))


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
