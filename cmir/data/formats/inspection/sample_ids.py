"""Ids of samples, for all readers: unique, and with the video that a clip is of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cmir.data.formats.inspection.texts import texts
from cmir.errors import InputError

ID_GLUE = "$_$"
FEWEST_VIDEOS = 4

# `video$_$clip` and `video[clip]`: no other id has these forms by chance.
_CLIP = re.compile(
    r"(?P<video>.+?)\$_\$(?P<clip>.*)|(?P<video_of_sdk>.+)\[(?P<clip_of_sdk>\d+)\]", re.DOTALL
)
# `video_3`, `video-003`, `dia0_utt3`, `Ses01F_impro01_F000`, `video/3.mp4`.
_ENDINGS = tuple(
    re.compile(rf"(.+){re.escape(mark)}[A-Za-z]{{0,5}}\d+(\.[A-Za-z]\w+)?", re.DOTALL)
    for mark in ("/", "\\", "#", ":", "_", "-", ".")
)


@dataclass(frozen=True)
class SampleIds:
    """Ids by split, unique where they can be; `videos` beside them if clips have any.

    Attributes:
        ids: one text for each sample.
        videos: likewise; empty where ids tell of no video.
        notes: what was made of the ids.
    """

    ids: Mapping[str, list[str]]
    videos: Mapping[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def sample_ids(found: Mapping[str, Sequence[str]]) -> SampleIds:
    """What the ids of all splits say.

    `video$_$clip`, `video[clip]` and `video_clip` name the video; `video[clip]` is written as
    `video$_$clip`. Ids that are repeated are videos, and their clips are numbered. Numbers that
    restart in every split are told apart by its name.

    >>> sample_ids({"train": ["a[0]", "a[1]"], "id_val": ["b[0]"]}).videos
    {'train': ['a', 'a'], 'id_val': ['b']}
    """
    ids = {name: list(own) for name, own in found.items()}
    every = [value for own in ids.values() for value in own]
    notes: tuple[str, ...] = ()
    is_repeated = len(set(every)) < len(every)
    named = _clips(ids)
    if named is not None:
        return named
    if is_repeated and _restart(ids):
        ids = {name: [f"{name}_{value}" for value in own] for name, own in ids.items()}
        notes = ("ids restart in every split: the split was put before each",)
    elif is_repeated and _are_videos(every):
        return _numbered(ids)
    videos = next((videos for form in _ENDINGS if (videos := _plausible(form, ids))), {})
    return SampleIds(ids, videos, (*notes, *_told_videos(ids, videos)))


def read_ids(splits: Mapping[str, Mapping[str, object]], where: str) -> SampleIds:
    """The ids under the key `id` of every split; rows are numbered where no split has any.

    Raises:
        InputError: some split has no key `id`, nothing under it, or a sample without an id.
    """
    if not any("id" in split for split in splits.values()):
        counted = {name: _rows(split) for name, split in splits.items()}
        if all(counted.values()):
            made = {name: [f"{name}_{row}" for row in range(n)] for name, n in counted.items()}
            note = "no ids in the source: rows were numbered, and clips of one video are not known"
            return SampleIds(made, notes=(note,))
    return sample_ids({name: _own_ids(split, f"{where}: {name}") for name, split in splits.items()})


def _rows(split: Mapping[str, object]) -> int:
    """The number that most keys have of values; 0 where no two agree."""
    sizes = Counter(len(value) for value in split.values() if hasattr(value, "__len__"))
    (size, times), *_ = sizes.most_common(1) or [(0, 0)]
    return size if times > 1 else 0


def _own_ids(split: Mapping[str, object], where: str) -> list[str]:
    if "id" not in split:
        raise InputError(
            f"{where}: must have the key 'id', one text for each sample, but has only "
            f"{', '.join(str(key) for key in split)}."
        )
    ids = texts(split["id"], ID_GLUE, f"{where}: id")
    if not ids:
        raise InputError(f"{where}: must hold samples, but 'id' is empty. Leave the split out.")
    named = [value for value in ids if value is not None]
    if len(named) < len(ids):
        raise InputError(
            f"{where}: every sample must have an id, but {len(ids) - len(named)} of {len(ids)} "
            "have none. Number them."
        )
    return named


def _restart(ids: Mapping[str, list[str]]) -> bool:
    """Whether each split counts its samples anew: ids of one form that differ in numbers alone."""
    every = [value for own in ids.values() for value in own]
    forms = {re.sub(r"\d+", "#", value) for value in every}
    return (
        len(forms) == 1
        and "#" in forms.pop()
        and all(len(set(own)) == len(own) for own in ids.values())
    )


def _clips(ids: Mapping[str, list[str]]) -> SampleIds | None:
    """Ids that name a clip, if most do; an odd one is a video of its own."""
    matches = {name: [_CLIP.fullmatch(value) for value in own] for name, own in ids.items()}
    odd = sum(match is None for own in matches.values() for match in own)
    count = sum(map(len, ids.values()))
    if not count or odd * 2 > count:
        return None
    pairs = {
        name: [_video_and_clip(match, value) for match, value in zip(own, ids[name], strict=True)]
        for name, own in matches.items()
    }
    notes = (
        (f"{odd} of {count} ids name no clip: each counts as a video of its own",) if odd else ()
    )
    return SampleIds(
        {name: [ID_GLUE.join(pair) for pair in own] for name, own in pairs.items()},
        {name: [pair[0] for pair in own] for name, own in pairs.items()},
        notes,
    )


def _video_and_clip(match: re.Match[str] | None, value: str) -> tuple[str, ...]:
    if match is None:
        return (value,)
    return tuple(part for part in match.groups() if part is not None)


def _are_videos(every: Sequence[str]) -> bool:
    """Whether most samples share their id with another, as the clips of a video do."""
    shared = sum(times for times in Counter(every).values() if times > 1)
    return 2 * shared >= len(every)


def _numbered(ids: Mapping[str, list[str]]) -> SampleIds:
    seen: Counter[str] = Counter()
    made: dict[str, list[str]] = {}
    for name, own in ids.items():
        made[name] = []
        for video in own:
            made[name].append(f"{video}{ID_GLUE}{seen[video]}")
            seen[video] += 1
    note = "ids are repeated: each is a video, and its clips were numbered"
    return SampleIds(made, {name: list(own) for name, own in ids.items()}, (note,))


def _plausible(form: re.Pattern[str], ids: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Videos by a form that ids may have by chance: some must have several clips; else nothing."""
    matches = {name: [form.fullmatch(value) for value in own] for name, own in ids.items()}
    if any(match is None for own in matches.values() for match in own):
        return {}
    videos = {name: [match[1] for match in own if match] for name, own in matches.items()}
    sizes = Counter(video for own in videos.values() for video in own)
    are_splits = all(len(set(own)) == 1 for own in videos.values())
    if len(sizes) < FEWEST_VIDEOS or len(sizes) == sizes.total() or are_splits:
        return {}
    return videos


def _told_videos(ids: Mapping[str, list[str]], videos: Mapping[str, list[str]]) -> tuple[str, ...]:
    if not videos:
        return ()
    count = len({video for own in videos.values() for video in own})
    split = next(iter(ids))
    return (
        f"{count} videos are told from the ids, such as {videos[split][0]!r} from "
        f"{ids[split][0]!r}",
    )
