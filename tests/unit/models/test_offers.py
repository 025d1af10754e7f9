"""Offers: which models a request may name under each MODELS_OFFERED, and which models it gets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uvr.errors import PermanentError, TransientError
from uvr.models.announcements import RunnableModel
from uvr.models.catalogue import CATALOGUE
from uvr.models.offers import Choice, Offers
from uvr.models.presets import Preset, read_presets

DEFAULT = "UVR-MDX-NET-Inst_HQ_4"
TWO = ("vocals", "instrumental")


def preset(name: str, *options: str | tuple[str, ...]) -> Preset:
    return Preset(name, "", tuple((option,) if isinstance(option, str) else option for option in options))


PRESETS = {
    each.name: each
    for each in (
        preset("fast", "Spleeter-2stems", DEFAULT),
        preset("best", "Kim_Inst", ("Kim_Vocal_1", "Kim_Vocal_2"), "Kim_Vocal_2"),
        preset("karaoke", "UVR_MDXNET_KARA_2", "our_kara"),
    )
}


def runnable(*names: str, stems: tuple[str, ...] = TWO, is_here: bool = True) -> list[RunnableModel]:
    return [RunnableModel(name, stems, is_here=is_here) for name in names]


def offers(models: Iterable[RunnableModel] = (), *listed: str, default: str = DEFAULT) -> Offers:
    return Offers(default, listed, PRESETS, {model.name: model for model in models})


def refusal(service: Offers, *names: str) -> str:
    with pytest.raises(PermanentError) as caught:
        service.choose(names)
    return caught.value.message


# What is offered


def test_by_default_the_default_model_and_the_presets_that_are_here_are_offered() -> None:
    service = offers(runnable(DEFAULT, "Kim_Vocal_2", "our_model"))
    assert service.models == [DEFAULT, "Kim_Vocal_2"]
    assert service.presets_now == {"fast": (DEFAULT,), "best": ("Kim_Vocal_2",)}


def test_a_list_offers_exactly_what_it_names_and_the_default_model() -> None:
    models = runnable(DEFAULT, "Kim_Vocal_1", "Kim_Vocal_2", "our_model")
    service = offers(models, "Kim Inst", "Fast", "our_model.onnx")
    assert service.models == [DEFAULT, "Kim_Inst", "our_model"]
    assert service.presets_now == {"fast": (DEFAULT,)}


def test_a_listed_name_that_nobody_knows_is_not_offered_once_the_models_are_known() -> None:
    assert offers([], "Bset", "Kim_Inst").models == [DEFAULT, "Bset", "Kim_Inst"]
    assert offers(runnable(DEFAULT), "Bset", "Kim_Inst").models == [DEFAULT, "Kim_Inst"]


def test_a_star_offers_everything_that_is_here() -> None:
    models = [*runnable(DEFAULT, "our_model", "Kim_Inst"), *runnable("Kim_Vocal_1", is_here=False)]
    service = offers(models, "*")
    assert service.models == [DEFAULT, "Kim_Inst", "our_model"]
    assert service.presets_now.keys() == {"fast", "best"}


def test_a_model_that_must_be_downloaded_is_offered_only_by_its_name() -> None:
    models = [*runnable(DEFAULT), *runnable("Kim_Inst", is_here=False)]
    assert "Kim_Inst" not in offers(models).models
    assert "Kim_Inst" not in offers(models, "*", "best").models
    assert "Kim_Inst" in offers(models, "Kim_Inst").models


def test_of_a_preset_the_first_models_that_are_here_are_taken() -> None:
    def best(*names: str) -> Choice:
        return offers(runnable(*names)).choose(["best"])

    assert best("Kim_Vocal_1", "Kim_Vocal_2", "Kim_Inst") == Choice(["Kim_Inst"], "best")
    assert best("Kim_Vocal_1", "Kim_Vocal_2") == Choice(["Kim_Vocal_1", "Kim_Vocal_2"], "best")
    assert best("Kim_Vocal_2") == Choice(["Kim_Vocal_2"], "best")


# Names


@pytest.mark.parametrize("spelling", ["Kim_Vocal_2", "kim vocal 2", "KIM_VOCAL_2.onnx", "MDX-Net Model: Kim Vocal 2"])
def test_a_model_of_the_catalogue_may_be_spelled_in_any_way(spelling: str) -> None:
    assert offers(runnable("Kim_Vocal_2"), "*").choose([spelling]) == Choice(["Kim_Vocal_2"])


@pytest.mark.parametrize("announced", ["Our_Model", "Our_Model.onnx", "our_model.ckpt"])
@pytest.mark.parametrize("spelling", ["our_model", "Our_Model.onnx", " our_model.ckpt"])
def test_a_model_of_the_operator_has_the_name_that_is_announced(announced: str, spelling: str) -> None:
    assert offers(runnable(announced), "*").choose([spelling]) == Choice([announced])
    assert offers(runnable(announced), spelling).choose([spelling]) == Choice([announced])


def test_of_two_files_that_are_spelled_alike_the_exact_name_is_taken() -> None:
    service = offers(runnable("our.ckpt", "our.yaml"), "*")
    assert [service.choose([name]).models for name in ("our.ckpt", "our.yaml")] == [["our.ckpt"], ["our.yaml"]]


def test_a_preset_goes_before_a_model_that_is_spelled_like_it() -> None:
    service = offers(runnable("Kim_Inst", "best.onnx"), "*")
    assert service.choose(["Best"]) == Choice(["Kim_Inst"], "best")
    assert service.choose(["best.onnx"]) == Choice(["best.onnx"])


def test_the_default_model_may_be_the_file_of_a_path() -> None:
    assert offers(runnable("ours.onnx"), default="ours.onnx").choose(["ours"]) == Choice(["ours.onnx"])


@pytest.mark.parametrize("name", ["/etc/passwd", "models/Kim_Inst", "..\\Kim_Inst", "../Kim_Inst.onnx"])
def test_a_path_is_refused(name: str) -> None:
    assert refusal(offers(runnable("Kim_Inst"), "*"), name) == f'"{name}" is a path; give the name of a model'


def test_several_models_are_an_ensemble_without_repetitions() -> None:
    service = offers(runnable("Kim_Inst", "Kim_Vocal_2"), "*")
    assert service.choose(["Kim Vocal 2", "Kim_Inst", "kim_vocal_2.onnx"]) == Choice(["Kim_Vocal_2", "Kim_Inst"])


def test_a_preset_is_no_part_of_an_ensemble() -> None:
    service = offers(runnable("Kim_Inst", "Kim_Vocal_2"), "*")
    assert refusal(service, "best", "Kim_Inst") == "best is a preset; ask for it alone, or for models by their names"


def test_models_without_a_common_stem_cannot_be_averaged() -> None:
    service = offers([*runnable("Kim_Inst"), *runnable("drums", stems=("drums", "no_drums"))], "*")
    assert refusal(service, "Kim_Inst", "drums") == (
        "Kim_Inst and drums have no stem in common, so they cannot be averaged"
    )


# Refusals


def test_a_refusal_names_what_is_offered() -> None:
    assert refusal(offers(runnable(DEFAULT)), "Kim_Inst") == (
        f'"Kim_Inst" is not offered here. Offered are fast and {DEFAULT}'
    )


def test_a_refusal_suggests_what_may_be_meant() -> None:
    service = offers(runnable(DEFAULT, "Kim_Inst"), "Kim_Inst")
    assert refusal(service, "Kim_Insst").startswith('"Kim_Insst" is not offered here; did you mean Kim_Inst? Offered')


def test_a_refusal_stays_short() -> None:
    service = offers(runnable(*CATALOGUE), "*")
    message = refusal(service, "x" * 200)
    assert f'"{"x" * 64}…" is not offered here' in message
    assert message.endswith(f"and {2 + len(CATALOGUE) + 1 - 10} more, which GET /models lists")
    assert len(message) < 400


def test_a_preset_without_models_here_says_so() -> None:
    message = refusal(offers(runnable(DEFAULT)), "karaoke")
    assert message.startswith("karaoke is a preset, and none of its models is here. Offered are fast")


def test_a_preset_that_is_not_listed_is_refused() -> None:
    assert refusal(offers(runnable(DEFAULT), "fast"), "best").startswith('"best" is not offered here')


# Before a processor has announced its models


@pytest.mark.parametrize("listed", [(), ("*",), ("Kim_Inst",)])
def test_the_default_and_listed_models_are_offered_before_anything_is_known(listed: tuple[str, ...]) -> None:
    for name in (DEFAULT, *set(listed) - {"*"}):
        assert offers([], *listed).choose([name]) == Choice([name])


@pytest.mark.parametrize(
    ("listed", "name"),
    [((), "best"), ((), "Kim_Vocal_2"), (("*",), "whatever"), (("*",), "fast"), (("best",), "best")],
)
def test_what_depends_on_the_models_that_are_here_is_asked_for_again_later(listed: tuple[str, ...], name: str) -> None:
    with pytest.raises(TransientError, match="no processor has announced its models; try again shortly") as caught:
        offers([], *listed).choose([name])
    assert caught.value.retry_after_s


@pytest.mark.parametrize(("listed", "name"), [((), "Kim_Vocal_9"), (("Kim_Inst",), "best"), (("fast",), "Kim_Inst")])
def test_what_cannot_become_offered_is_refused_at_once(listed: tuple[str, ...], name: str) -> None:
    assert "is not offered here" in refusal(offers([], *listed), name)


# Stems


def test_stems_keep_their_order_without_repetitions_in_any_spelling() -> None:
    service = offers(runnable(DEFAULT, stems=("lead_vocals", "drums", "bass")))
    wanted = ["Drums", "Lead-Vocals", "drums", "lead vocals"]
    assert service.choose_stems(wanted, [DEFAULT]) == ["drums", "lead_vocals"]


@pytest.mark.parametrize(
    ("models", "wanted", "message"),
    [
        ([], ["drums"], f'{DEFAULT} gives vocals and instrumental, not "drums"'),
        (["Kim_Inst"], ["drums", "vocals", "x"], 'Kim_Inst gives vocals and instrumental, not "drums" or "x"'),
        (["Kim_Inst", "four"], ["drums"], 'Kim_Inst and four together give vocals, not "drums"'),
    ],
)
def test_stems_that_the_models_do_not_give_are_refused(models: list[str], wanted: list[str], message: str) -> None:
    four = runnable("four", stems=("drums", "bass", "other", "vocals"))
    with pytest.raises(PermanentError) as caught:
        offers([*runnable(DEFAULT, "Kim_Inst"), *four], "*").choose_stems(wanted, models)
    assert caught.value.message == message


@pytest.mark.parametrize("name", [" ", "-", "../", "\0"])
def test_a_stem_has_a_name(name: str) -> None:
    with pytest.raises(PermanentError, match="the name of a stem has letters or digits"):
        offers([]).choose_stems(["vocals", name], [])


def test_stems_of_a_model_that_are_not_known_are_left_to_the_processor() -> None:
    assert offers([]).choose_stems(["Drums"], []) == ["drums"]
    assert offers(runnable("ours", stems=()), "*").choose_stems(["drums"], ["ours"]) == ["drums"]


# Whatever is offered


NAMES = st.sampled_from([*list(CATALOGUE)[:12], "ours", "Ours.onnx", "best.ckpt", "Kim_Inst"])
LISTED = st.lists(st.one_of(NAMES, st.sampled_from(["*", "fast", "best", "karaoke", "nothing"])), max_size=4)


@settings(deadline=None)
@given(here=st.lists(NAMES, unique=True), elsewhere=st.lists(NAMES), listed=LISTED, default=NAMES, data=st.data())
def test_whatever_is_offered_is_accepted_and_is_here_or_listed(
    here: list[str], elsewhere: list[str], listed: list[str], default: str, data: Any
) -> None:
    models = [*runnable(*elsewhere, is_here=False), *runnable(*here)]
    service = Offers(default, listed, read_presets(None), {model.name: model for model in models})
    for name in service.models:
        assert service.choose([name]) == Choice([name])
        named = {service.name_of(each) for each in (*listed, default)}
        assert name in here or name in named
    for name, chosen in service.presets_now.items():
        assert service.choose([name]) == Choice(list(chosen), name)
        assert set(chosen) <= set(here)
    try:
        choice = service.choose([data.draw(st.one_of(NAMES, st.text(max_size=20)))])
    except (PermanentError, TransientError):
        return
    assert set(choice.models) <= set(service.models)
