"""pip chooses what an image lacks and nothing else, for another Python and platform than ours, and says why not."""

from __future__ import annotations

import pytest

from submission_builder.wheels.image_pip import PipSources
from submission_builder.wheels.images import image_names, load_image, parse_image
from submission_builder.wheels.resolution import ResolutionError, find_missing
from submission_builder.wheels.target import Target, find_python, make_target, platform_tags

IMAGE = parse_image(
    "# python: 3.12\n# platform: manylinux_2_28_x86_64\nbig_torch==2.10.0+cu128\nhub==1.11.0\nviewer\n",
    name="test-image",
)


def resolve(index, *requirements: str, image=IMAGE, **options):
    sources = PipSources(find_links=(str(index.folder),), no_index=True)
    return find_missing(requirements, image, make_target(image), sources=sources, **options)


def names(resolution) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in resolution.needed}


def test_only_what_is_missing_and_nothing_replaced(index):
    """Newer versions of what is there lie in the index, a local version satisfies, and markers are the target's."""
    index.wheel("wanted", "1.0", requires=[
        "big-torch>=2.6", "hub>=0.36", "small[fast]>=1", "viewer>=2", 'absent; python_version < "3.12"',
        'absent2; platform_machine == "riscv64"',
    ])  # fmt: skip
    index.wheel("big_torch", "2.11.0")
    index.wheel("hub", "2.4.0")
    index.wheel("small", "1.5", requires=["hub", 'tiny; extra == "fast"'])
    index.wheel("tiny", "0.1")
    index.wheel("viewer", "3.0", requires=["viewer_parts"])
    index.wheel("viewer_parts", "1.0")
    found = resolve(index, "wanted")
    assert names(found) == {"small": "1.5", "tiny": "0.1", "wanted": "1.0"}
    assert found.replaced == {}
    assert found.assumed == {"viewer": "3.0"}  # its version there is not known, and its own needs are its own
    assert {wheel.name: wheel.required_by for wheel in found.needed}["tiny"] == ("small",)


def test_a_conflict_names_both_sides_and_can_be_replaced_on_purpose(index):
    index.wheel("wanted", "1.0", requires=["hub>=2"])
    index.wheel("hub", "2.4.0")
    with pytest.raises(
        ResolutionError, match=r"(?s)wanted 1.0 depends on hub>=2.*image has hub==1.11.0.*--replace hub"
    ):
        resolve(index, "wanted")
    found = resolve(index, "wanted", replace=["Hub"])
    assert names(found) == {"hub": "2.4.0", "wanted": "1.0"}
    assert found.replaced == {"hub": "1.11.0"}
    with pytest.raises(ResolutionError, match="has no nothing"):
        resolve(index, "wanted", replace=["nothing"])


def test_source_distributions_and_other_platforms_are_refused_with_the_reason(index):
    index.source("onlysource", "1.0")
    with pytest.raises(ResolutionError, match=r"onlysource exists only as source \(onlysource-1.0.tar.gz\)"):
        resolve(index, "onlysource")
    index.wheel("compiled", "1.0", tag="cp312-cp312-manylinux_2_34_x86_64")
    index.wheel("compiled", "1.1", tag="cp311-cp311-manylinux2014_x86_64")
    with pytest.raises(
        ResolutionError, match=r"(?s)compiled has no wheel for this Python and platform.*manylinux_2_34"
    ):
        resolve(index, "compiled")
    index.wheel("compiled", "0.9", tag="cp312-cp312-manylinux2014_x86_64")
    assert names(resolve(index, "compiled")) == {"compiled": "0.9"}


def test_what_is_wanted_without_its_needs_replaces_what_is_there(index):
    index.wheel("viewer", "1.18.0", requires=["ninety", "packages"])
    found = resolve(index, without_dependencies=["viewer==1.18.0"])
    assert names(found) == {"viewer": "1.18.0"}
    assert found.replaced == {"viewer": ""}


def test_shipped_images():
    assert image_names() == ["kaggle-2024", "kaggle-2026"]
    new = load_image("kaggle-2026")
    wanted = {"torch": "2.10.0+cu128", "transformers": "5.0.0", "accelerate": "1.13.0", "numpy": "2.0.2",
              "peft": "0.19.1", "protobuf": "5.29.5"}  # fmt: skip
    assert {name: new.versions.get(name) for name in wanted} == wanted
    assert make_target(new).short_python == "3.12" and "kaggle-environments" in new.unversioned
    assert not {"bitsandbytes", "isal"} & {*new.versions, *new.unversioned}
    old = load_image("kaggle-2024")
    assert (old.versions["torch"], old.versions["transformers"]) == ("2.1.2", "4.41.2")
    assert make_target(old).short_python == "3.10" and any("20 Questions" in note for note in old.notes)


def test_own_freeze_lists(tmp_path):
    with pytest.raises(ValueError, match="neither an image"):
        load_image(tmp_path / "absent.txt")
    with pytest.raises(ValueError, match=r"no freeze list.*\n  not a package"):
        parse_image("not a package?\n", name="x")
    with pytest.raises(ValueError, match="is empty"):
        parse_image("# nothing\n", name="x")
    image = parse_image("-e git+ssh://host/me/tool.git@0f3#egg=my_tool\nnumpy==2.0.2  # why\n", name="x")
    assert image.unversioned == {"my-tool"} and image.versions == {"numpy": "2.0.2"}
    with pytest.raises(ValueError, match=r"(?s)does not say its Python.*no Linux wheel tag"):
        make_target(image, platform="win_amd64")


def test_targets_are_this_families_older_tags():
    tags = platform_tags("manylinux_2_28_x86_64")
    assert tags[0] == "manylinux_2_28_x86_64" and {"manylinux2014_x86_64", "manylinux1_x86_64", "linux_x86_64"} < set(
        tags
    )
    assert "manylinux_2_29_x86_64" not in tags
    assert Target("3.12.13", tuple(tags)).markers()["python_version"] == "3.12"
    assert Target("3.12", ("manylinux_2_28_aarch64",)).markers()["platform_machine"] == "aarch64"
    assert find_python("3.99") is None
