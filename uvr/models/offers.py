"""Offers: which models the clients of a service may ask for, and which models a request gets.

MODELS_OFFERED says it: names of models and presets, `*` for every model that is here, or nothing for the presets whose
models are here. MODEL_NAME is always offered. Which models are here is what the processors announce; until one has
done so, only what MODELS_OFFERED names is certain, and the rest is refused for the time being.

A preset goes before a model that is spelled like it: an operator's own model `best.onnx` is asked for as `best.onnx`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from config import EVERY_MODEL
from uvr.errors import PermanentError, TransientError
from uvr.models.announcements import RunnableModel
from uvr.models.catalogue import CATALOGUE, catalogue_name, without_suffix
from uvr.models.presets import Preset
from uvr.models.stem_names import safe_stem_name
from uvr.spelling import closest

_FILE_SUFFIXES = (".onnx", ".pth", ".ckpt", ".safetensors", ".yaml")
_RETRY_AFTER_S = 10.0
_MAX_NAMED = 10
_MAX_SHOWN_LENGTH = 64


@dataclass(frozen=True)
class Choice:
    """The models that a request gets, [] for MODEL_NAME, and the preset from which they were taken, "" for none."""

    models: list[str] = field(default_factory=list)
    preset: str = ""


@dataclass(frozen=True)
class Offers:
    """What is offered while `runnable` are the models that the processors have announced, by name.

    `default` is MODEL_NAME, `listed` is MODELS_OFFERED, and `presets` are those that exist.
    """

    default: str
    listed: Sequence[str]
    presets: Mapping[str, Preset]
    runnable: Mapping[str, RunnableModel]

    @cached_property
    def models(self) -> list[str]:
        """The names of the models that are offered, MODEL_NAME first."""
        named = [name for name in self.listed if self._is_model(name)]
        here = [model.name for model in self.runnable.values() if model.is_here]
        in_presets = [name for models in self.presets_now.values() for name in models]
        names = [self.default, *named, *in_presets, *(here if EVERY_MODEL in self.listed else [])]
        return list(dict.fromkeys(map(self.name_of, names)))

    @cached_property
    def presets_now(self) -> Mapping[str, tuple[str, ...]]:
        """The presets that are offered, and the models that each of them is at the moment."""
        found = {name: self._first_here(self.presets[name]) for name in self._offered_presets}
        return {name: models for name, models in found.items() if models}

    def choose(self, names: Sequence[str]) -> Choice:
        """The models that a client gets who asks for `names`: models in any spelling, or one preset.

        Raises `PermanentError` if one of them is not offered, and `TransientError` if that is not known yet.
        """
        preset = _preset_name(names[0]) if len(names) == 1 else ""
        if preset in self.presets:
            choice = Choice(list(self._models_of(preset)), preset)
        else:
            choice = Choice(list(dict.fromkeys(map(self._offered, names))))
        if self.stems_of(choice.models) == ():
            raise PermanentError(f"{_listed(choice.models)} have no stem in common, so they cannot be averaged")
        return choice

    def choose_stems(self, wanted: Sequence[str], models: Sequence[str]) -> list[str]:
        """The names of the stems `wanted`, which may be spelled like "Lead Vocals", without repetitions.

        Raises `PermanentError` that lists what `models` give ([] is MODEL_NAME) if one is not among them.
        """
        if not all(any(map(str.isalnum, name)) for name in wanted):
            raise PermanentError("the name of a stem has letters or digits")
        names = list(dict.fromkeys(map(safe_stem_name, wanted)))
        models = list(models) or [self.default]
        given = self.stems_of(models)
        if given is not None and (missing := [name for name in names if name not in given]):
            verb = "gives" if len(models) == 1 else "together give"
            raise PermanentError(
                f"{_listed(models)} {verb} {_listed(given)}, not {_listed(map(_shown, missing), 'or')}"
            )
        return names

    def stems_of(self, models: Iterable[str]) -> tuple[str, ...] | None:
        """The stems that all of `models` give; None if the stems of one of them are not known."""
        each = [found.stems if (found := self.runnable.get(self.name_of(name))) else () for name in models]
        if not each or not all(each):
            return None
        return tuple(name for name in each[0] if all(name in stems for stems in each))

    def name_of(self, name: str) -> str:
        """The name of a model in any spelling: the catalogue's, or as an operator's own model was announced."""
        known = catalogue_name(name)
        return known if known in self.runnable else self._own_models.get(_plain(known), known)

    @property
    def are_known(self) -> bool:
        """Whether a processor has announced its models."""
        return bool(self.runnable)

    @cached_property
    def _own_models(self) -> Mapping[str, str]:
        names = [*self.runnable, catalogue_name(self.default), *map(catalogue_name, self.listed)]
        return {_plain(name): name for name in reversed(names)}

    @cached_property
    def _offered_presets(self) -> list[str]:
        if not self.listed or EVERY_MODEL in self.listed:
            return list(self.presets)
        named = set(map(_preset_name, self.listed))
        return [name for name in self.presets if name in named]

    def _is_model(self, listed: str) -> bool:
        """Whether an entry of MODELS_OFFERED is a model, as far as the catalogue and the processors know."""
        if listed == EVERY_MODEL or _preset_name(listed) in self.presets:
            return False
        name = self.name_of(listed)
        return name in CATALOGUE or name in self.runnable or not self.are_known

    def _first_here(self, preset: Preset) -> tuple[str, ...]:
        here = {name for name, model in self.runnable.items() if model.is_here}
        options = (tuple(map(self.name_of, names)) for names in preset.options)
        return next((models for models in options if here.issuperset(models)), ())

    def _models_of(self, preset: str) -> tuple[str, ...]:
        if preset not in self._offered_presets:
            raise self._refusal(preset)
        if not self.are_known:
            raise _not_known_yet(preset)
        if preset not in self.presets_now:
            raise PermanentError(f"{preset} is a preset, and none of its models is here. {self._offered_names}")
        return self.presets_now[preset]

    def _offered(self, name: str) -> str:
        if "/" in name or "\\" in name:
            raise PermanentError(f"{_shown(name)} is a path; give the name of a model")
        if (preset := _preset_name(name)) in self.presets:
            raise PermanentError(f"{preset} is a preset; ask for it alone, or for models by their names")
        model = self.name_of(name)
        if model in self.models:
            return model
        if not self.are_known and self._may_be_offered(model):
            raise _not_known_yet(_shown(name))
        raise self._refusal(name)

    def _may_be_offered(self, model: str) -> bool:
        """Whether `model` would be offered if it were here."""
        options = [option for name in self._offered_presets for option in self.presets[name].options]
        return EVERY_MODEL in self.listed or any(model in map(self.name_of, names) for names in options)

    def _refusal(self, name: str) -> PermanentError:
        meant = closest(name[:_MAX_SHOWN_LENGTH], [*self.presets_now, *self.models])
        hint = f"; did you mean {meant}? " if meant else ". "
        return PermanentError(f"{_shown(name)} is not offered here{hint}{self._offered_names}")

    @property
    def _offered_names(self) -> str:
        names = [*self.presets_now, *self.models]
        shown, others = names[:_MAX_NAMED], len(names) - _MAX_NAMED
        if others > 0:
            return f"Offered are {', '.join(shown)} and {others} more, which GET /models lists"
        return f"Offered {'is' if len(shown) == 1 else 'are'} {_listed(shown)}"


def _not_known_yet(name: str) -> TransientError:
    return TransientError(
        f"Whether {name} is here is not known yet, because no processor has announced its models; try again shortly.",
        retry_after_s=_RETRY_AFTER_S,
    )


def _preset_name(name: str) -> str:
    return name.strip().lower()


def _plain(name: str) -> str:
    """The file name of a model as it is compared."""
    return without_suffix(name.strip(), *_FILE_SUFFIXES).lower()


def _shown(name: str) -> str:
    return f'"{name}"' if len(name) <= _MAX_SHOWN_LENGTH else f'"{name[:_MAX_SHOWN_LENGTH]}…"'


def _listed(names: Iterable[str], conjunction: str = "and") -> str:
    """The names as part of a sentence: "a", "a and b", "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} {conjunction} {last}" if others else last
