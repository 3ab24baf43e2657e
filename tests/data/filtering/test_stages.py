"""Which texts are dropped by which stage, and which are not."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_utils.data.filtering import FilterSettings
from kaggle_utils.data.filtering.stages import RowStages
from kaggle_utils.data.filtering.texts import TextBatch

BEFORE, AFTER = "日本の文化について説明します。古くから多くの伝統があります。", "このように、文化は大切です。"
CLEAN = [
    "はい", "東京都庁", "了解", "42", "Microsoft Excel", "日本語", "漢字文書",
    "石鹼と鷗、𠮷野家、髙﨑さん、剝がす、頰、café、Ω、α、★、£、😀👨‍👩‍👧、①、㎡、（´Д｀）、(´・ω・`)",
    "東京都千代田区丸の内一丁目。", "織田信長、豊臣秀吉、徳川家康。", "独立行政法人日本学術振興会。",
    "社会的・経済的・政治的・文化的要因。", "政治的、経済的、中央集権的な不平等、所得再分配政策。",
    "就職活動終了後、自己分析結果把握。", "愛媛県：県庁所在地は松山市。東京都：県庁所在地は新宿区。",
    "我田引水、唯我独尊、色即是空、空即是色。", "WWE、ROH、Impact、TNA、Lucha Undergroundなどです。",
    "Kubernetesのクラスターをkubectl get podsで確認します。https://example.com/a/b?c=d を参照。",
    "コードです。\n```python\ndef add(a, b):\n    return a + b  # the sum of the two numbers given\n```\n以上です。",
    "映画『The Lord of the Rings: The Fellowship of the Ring』は2001年の作品です。",
    "「Where there is a will, there is a way」ということわざがあります。",
    "英語の例文を示します。\nI have been living in this town for more than ten years now.\n以上です。",
    "「ありがとう」は韓国語で「감사합니다」と言います。", "中国語の「我们今天去图书馆学习日语」を訳してください。",
    "| 項目 | 値 |\n|------|------|\n| 一 | 1 |\n|------|------|\n" + "-" * 120,
    "１．りんご\n２．みかん\n３．ぶどう",
]  # fmt: skip
DIRTY = [
    ("language", BEFORE + "北京是中国的首都，有三千多年的歴史。" + AFTER),
    ("language", BEFORE + "日本是一個美麗的國家，有很多名勝古蹟。" + AFTER),
    ("language", BEFORE + "不是所有的人都有同樣的想法。" + AFTER),
    ("language", "我不知道他是不是在家。"),
    ("language", "The Heian period was a time when Japan experienced a flourishing of culture and art."),
    ("language", BEFORE + "\nHowever, it is important to note that these traditions are disappearing.\n" + AFTER),
    ("language", "Die Hauptstadt von Japan ist Tokio und sie hat sehr viele Einwohner."),
    ("characters", BEFORE + "这个问题非常重要。" + AFTER),
    ("characters", "効率的に进行します。"),
    ("characters", "𝗔の𐍈です。"),
    ("scripts", "とても 감사합니다 と思います。"),
    ("scripts", "それは очень 大切です。"),
    ("scripts", "これは ठीक है です。"),
    ("broken text", "これは\ud83dです。"), ("broken text", "これは\ufffdです。"),
    ("broken text", "これは\x8dです。"), ("broken text", "これは\ue000です。"),
    ("broken text", "縺薙ｌ縺ｯ譁�蟄怜喧縺代〒縺吶�".replace("�", "")),
    ("broken text", "これは日本語です。".encode().decode("cp1252", "ignore")),
    ("broken text", "cafÃ© で会いましょう。"),
    ("repetition", "日本の経済は成長しました。" * 12),
    ("repetition", BEFORE + "はい、" * 60),
    ("code and urls", "https://example.com/a/very/long/path/that/says/nothing/at/all です"),
]  # fmt: skip


@pytest.fixture(scope="module")
def stages() -> RowStages:
    return RowStages(FilterSettings())


def judge(stages: RowStages, texts: list[str]) -> dict[int, tuple]:
    return stages.judge(TextBatch(texts, np.arange(len(texts)), ["answer"] * len(texts), stages.table))


def test_clean_texts_stay(stages):
    dropped = judge(stages, CLEAN)
    assert {CLEAN[row]: found for row, found in dropped.items()} == {}


@pytest.mark.parametrize(("stage", "text"), DIRTY)
def test_dirty_texts_go(stages, stage, text):
    dropped = judge(stages, [CLEAN[0], text, CLEAN[1]])
    assert list(dropped) == [1]
    assert dropped[1][0] == stage, dropped


def test_a_text_is_judged_alike_whatever_stands_beside_it(stages):
    texts = [*(text for _, text in DIRTY), *CLEAN]
    together = judge(stages, texts)
    alone = {i: found for i, text in enumerate(texts) for found in judge(stages, [text]).values()}
    assert {row: found[0] for row, found in together.items()} == {row: found[0] for row, found in alone.items()}


def test_controls_are_removed_or_dropped(stages):
    text = "これは\x00本\u200b当\x1bです。\t改行も\nあります。"
    batch = TextBatch([text], np.zeros(1, int), ["a"], stages.table)
    assert stages.repairs(batch) == {0: "これは本当です。\t改行も\nあります。"}
    strict = RowStages(FilterSettings(remove_controls=False), stages.table)
    assert judge(strict, [text])[0][0] == "broken text"


def test_blocklist_of_a_thousand_words_finds_what_a_loop_finds(stages):
    rng = np.random.default_rng(0)
    letters = np.array(list("あいうえおかきくけこ電器会社山川"))
    drawn = {"".join(rng.choice(letters, size=rng.integers(1, 5))) for _ in range(900)}
    words = (*sorted(drawn - set(letters[:10])), "社")
    texts = ["".join(rng.choice(letters[:14], size=60)) for _ in range(200)]
    texts += ["", "電", "山川"]
    dropped = judge(RowStages(FilterSettings(blocklist=words, max_repeated_share=None), stages.table), texts)
    expected = {i for i, text in enumerate(texts) if any(word in text for word in words)}
    assert {row for row, found in dropped.items() if found[0] == "blocklist"} == expected
    assert all(found[2].why in texts[row] for row, found in dropped.items() if found[0] == "blocklist")


def test_words_do_not_reach_over_the_end_of_a_text(stages):
    settings = FilterSettings(blocklist=("い\nは", "いは"))
    assert judge(RowStages(settings, stages.table), ["はい", "はい"]) == {}


def test_another_language():
    settings = FilterSettings(language="en", encoding=None, scripts=())
    texts = [
        "The library opens at nine in the morning and closes at six.",
        "図書館は九時に開きます。とても便利です。とても静かです。",
    ]
    assert list(judge(RowStages(settings), texts)) == [1]
