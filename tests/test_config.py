"""A configuration is refused as a whole, before any work, with names, values and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from colcap.config import Config, load, merge, parse
from colcap.errors import ConfigError
from colcap.fingerprints import fingerprint
from colcap.flags import FLAGS, parameters


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"captioning": {"window_size": 3}}, ["captioning.window_size", "3", "greater than or equal to 4"]),
        ({"captioning": {"window_sise": 3}}, ["captioning.window_sise", "unknown", "window_size"]),
        ({"captioning": {"fp8": "yes"}}, ["captioning.fp8", "'yes'", "boolean"]),
        ({"captioning": {"sampling_fps": float("nan")}}, ["captioning.sampling_fps", "nan"]),
        ({"captioning": {"prompt_variant": "x"}}, ["captioning.prompt_variant", "av-surveillance"]),
        ({"preview": {"quality": 101}}, ["preview.quality", "101", "less than or equal to 100"]),
        ({"preview": {"compression_level": 6.5}}, ["preview.compression_level", "6.5"]),
        ({"preview": 7}, ["preview", "7"]),
        ({"nonsense": 1}, ["nonsense", "unknown", "captioning"]),
        ({"caption_set": "../../x"}, ["caption_set", "../../x"]),
    ],
)
def test_wrong_parameters_are_refused_by_name_and_value(given: dict[str, object], told: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(given)

    assert all(word in str(refused.value) for word in told), refused.value


def test_every_wrong_parameter_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        parse({"captioning": {"window_size": 0, "bogus": 1}, "preview": {"quality": -1}})

    assert len(str(refused.value).splitlines()) == 3


def test_toml_flags_and_python_pass_the_same_validation(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[captioning]\nwindow_size = 64\nmodel_variant = 'tiny'\n")
    flags = parameters({"captioning_window_size": 128, "captioning_use_vllm_mmcache": False})

    result = parse(merge(load(file), flags))

    assert result.captioning.window_size == 128
    assert result.captioning.model_variant == "tiny"
    assert result.captioning.disable_mmcache


def test_toml_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("window_size = = 3")

    with pytest.raises(ConfigError, match=r"c\.toml"):
        load(file)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().captioning.window_size = 3  # type: ignore[misc]


def test_every_flag_sets_a_parameter_that_exists() -> None:
    for flag in FLAGS:
        target: object = Config()
        for name in flag.path.split("."):
            target = getattr(target, name)


def test_a_fingerprint_follows_content_not_order() -> None:
    assert fingerprint({"a": 1, "b": [2, None]}) == fingerprint({"b": [2, None], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
