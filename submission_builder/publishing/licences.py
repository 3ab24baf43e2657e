"""The licences and frameworks that Kaggle knows by name, from the documentation of its official client (2026-09).

Datasets and models have different lists with different spellings. Whether a licence fits what is in the folder is
for its owner to say: weights derived from Gemma or Llama keep the terms of those models.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

__all__ = ["DATASET_LICENCES", "FRAMEWORKS", "MODEL_LICENCES", "named_problems"]

DATASET_LICENCES = (
    "CC0-1.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-NC-SA-4.0", "GPL-2.0", "ODbL-1.0", "DbCL-1.0",
    "copyright-authors", "other", "unknown", "CC-BY-4.0", "CC-BY-NC-4.0", "PDDL", "CC-BY-3.0", "CC-BY-3.0-IGO",
    "US-Government-Works", "CC-BY-NC-SA-3.0-IGO", "CDLA-Permissive-1.0", "CDLA-Sharing-1.0", "CC-BY-ND-4.0",
    "CC-BY-NC-ND-4.0", "ODC-BY-1.0", "LGPL-3.0", "AGPL-3.0", "FDL-1.3", "EU-ODP-Legal-Notice", "apache-2.0", "GPL-3.0",
)  # fmt: skip
"""What ``licenses`` of dataset-metadata.json may name."""

MODEL_LICENCES = (
    "Apache 2.0", "Attribution 3.0 IGO (CC BY 3.0 IGO)", "Attribution 3.0 Unported (CC BY 3.0)",
    "Attribution 4.0 International (CC BY 4.0)", "Attribution-NoDerivatives 4.0 International (CC BY-ND 4.0)",
    "Attribution-NonCommercial 4.0 International (CC BY-NC 4.0)",
    "Attribution-NonCommercial-NoDerivatives 4.0 International (CC BY-NC-ND 4.0)",
    "Attribution-NonCommercial-ShareAlike 3.0 IGO (CC BY-NC-SA 3.0 IGO)", "BSD-3-Clause", "CC BY-NC-SA 4.0",
    "CC BY-SA 3.0", "CC BY-SA 4.0", "CC0: Public Domain", "Community Data License Agreement - Permissive - Version 1.0",
    "Community Data License Agreement - Sharing - Version 1.0", "GNU Affero General Public License 3.0",
    "GNU Free Documentation License 1.3", "GNU Lesser General Public License 3.0", "GPL 2", "MIT",
    "ODC Attribution License (ODC-By)", "ODC Public Domain Dedication and Licence (PDDL)", "GPL 3",
)  # fmt: skip
"""What ``licenseName`` of model-instance-metadata.json may be."""

FRAMEWORKS = (
    "tensorFlow1", "tensorFlow2", "tfLite", "tfJs", "pyTorch", "jax", "flax", "pax", "maxText", "gemmaCpp", "ggml",
    "gguf", "coral", "scikitLearn", "mxnet", "onnx", "keras", "transformers", "other", "tensorRtLlm", "triton", "vllm",
)  # fmt: skip
"""What ``framework`` of model-instance-metadata.json may be."""


def named_problems(what: str, name: str, known: Sequence[str]) -> list[str]:
    """A name that is not in a list of Kaggle's, with the nearest that are.

    >>> named_problems("licence", "Apache-2.0", DATASET_LICENCES)
    ["licence 'Apache-2.0' is not one that Kaggle knows; nearest: apache-2.0"]
    """
    if name in known:
        return []
    folded = {other.casefold(): other for other in known}
    near = [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)]
    if name.casefold() in folded:
        near = [folded[name.casefold()]]
    there = f"nearest: {', '.join(near)}" if near else f"there are {', '.join(known)}"
    return [f"{what} {name!r} is not one that Kaggle knows; {there}"]
